"""The one exception for a mistake that the user can correct."""

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake in the input.  Its message is one line: what is wrong, its value, what is allowed.

    The command line prints it to stderr and ends with code 2 (contract C5); nothing else does.
    """
