"""A script that raises, to see how the build names the place."""


def divide(x: int) -> float:
    # --8<-- [start:nothing]
    # --8<-- [end:nothing]
    # --8<-- [start:work]
    raise ZeroDivisionError(x)
    # --8<-- [end:work]
    # --8<-- [start:claim]
    from minimind.course.experiment import claim

    two = 2
    claim("two is three", two == 3)
    # --8<-- [end:claim]
