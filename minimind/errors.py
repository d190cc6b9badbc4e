"""The one exception that a user sees: a sentence that says what was found and what to do."""


class UserError(ValueError):
    """A mistake in the input, not in the program.

    The command line prints the message as one line and exits with status 2, without a traceback. Code that
    uses the package as a library can catch it like any exception.
    """
