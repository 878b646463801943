"""The exceptions that the command line shows as one line, without a traceback."""

import os
import sys
from collections.abc import Callable

__all__ = ["FaultError", "UserError", "in_one_line"]


class UserError(Exception):
    """A mistake in the input.  Its message is one line: the key, its value, and what is allowed.

    The command line prints the message to stderr and ends with code 2 (contract C5).  No other
    exception leads to code 2.
    """


class FaultError(Exception):
    """A fault of the machine, such as a full disk.  Its message is one line: where and what.

    The command line prints the message to stderr and ends with code 1.
    """


def in_one_line(main: Callable[[], int | None]) -> int:
    """The exit code of a script, whose mistakes and missing files are one line on stderr.

    Args:
        main: The script; it returns its exit code, None for 0.

    """
    try:
        return main() or 0
    except (UserError, FaultError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 2 if isinstance(error, UserError) else 1
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"{os.fsdecode(error.filename)}: {error.strerror}\n")
        return 1
