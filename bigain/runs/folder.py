"""The folder that holds all results: whether one can work with it, asked before any work is done.

Everything that reads or writes results asks here first, so that a path that cannot serve is one
line for the user, and not the end of hours of computing.
"""

import os
from pathlib import Path

from bigain.errors import UserError

__all__ = ["check_results", "make_results", "need_results"]


def check_results(results: Path) -> None:
    """Raise UserError unless `results` is, or could become, a folder to write to; make nothing."""
    nearest = next(path for path in [results, *results.absolute().parents] if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        place = "" if nearest == results else f" ({nearest} is not)"
        raise UserError(f"paths.results={results}: allowed: a folder one can write to{place}")


def make_results(results: Path) -> None:
    """Make the folder `results` if there is none.  Raises UserError if that cannot be done."""
    check_results(results)
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = "allowed: a folder one can write to"
        raise UserError(f"paths.results={results}: {allowed} ({error.strerror})") from error


def need_results(results: Path) -> None:
    """Raise UserError unless `results` is a folder that exists."""
    if not results.is_dir():
        wrong = "is not a folder" if results.exists() else "does not exist"
        allowed = "the folder that holds runs/, such as --results DIR"
        raise UserError(f"paths.results={results}: {wrong}; allowed: {allowed}")
