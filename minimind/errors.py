"""The one exception that a user sees: a sentence that says what was found and what to do."""


class UserError(ValueError):
    """A mistake in the input, not in the program.

    The command line prints the message as one line and exits with status 2, without a traceback. Code that
    uses the package as a library can catch it like any exception.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python or torch says that memory ran out (torch on a CPU raises a
    RuntimeError)."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(word in str(error).lower() for word in words)
    )
