"""The exceptions that the command line shows as one line, without a traceback."""

__all__ = ["FaultError", "UserError"]


class UserError(Exception):
    """A mistake in the input.  Its message is one line: the key, its value, and what is allowed.

    The command line prints the message to stderr and ends with code 2 (contract C5).  No other
    exception leads to code 2.
    """


class FaultError(Exception):
    """A fault of the machine, such as a full disk.  Its message is one line: where and what.

    The command line prints the message to stderr and ends with code 1.
    """
