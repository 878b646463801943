"""The exception for mistakes that the user can correct."""

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake in the input.  Its message is one line: the key, its value, and what is allowed.

    The command line prints the message to stderr and ends with code 2 (contract C5).  No other
    exception leads to code 2.
    """
