"""Arguments that verbs share, and a parser with error messages of one line."""

import argparse
import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bigain.config.messages import did_you_mean
from bigain.errors import UserError
from bigain.locations import absolute_path

__all__ = ["VerbParser", "check_output", "find_runs", "name_argument", "path_argument"]
__all__ += ["results_folder"]

_UNKNOWN = "unrecognized arguments: "
_VALUE = re.compile(
    r"argument (?P<option>--[\w-]+): invalid (?P<kind>\w+)(?: value)?: '(?P<value>.*?)'"
    r"(?: \(choose from (?P<choices>.*)\))?"
)
"""The messages of argparse about a wrong value."""

_OWN = re.compile(r"argument (?P<option>[\w-]+): (?P<rest>.*; allowed: .*)")
"""The messages of `path_argument` and `name_argument`."""

_OF_RUNNER = re.compile(r"^\+{0,2}paths\.results=")
"""How the runner is told the folder of the results."""

_KINDS = {"int": "a whole number", "float": "a number"}


def path_argument(text: str) -> Path:
    """The type of an argument that is a path, see `bigain.locations.absolute_path`."""
    if not text:
        raise argparse.ArgumentTypeError("'': is empty; allowed: a path")
    try:
        return absolute_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}; allowed: a path") from error


def name_argument(text: str) -> str:
    """The type of an argument that is a name."""
    if not text:
        raise argparse.ArgumentTypeError("'': is empty; allowed: a name")
    return text


def check_output(option: str, path: Path) -> None:
    """Raise UserError unless the file `path` of an option can be written or replaced."""
    folder, wrong = path.parent, ""
    if not folder.is_dir():
        wrong = f"the folder {folder} does not exist"
    elif path.exists() and not path.is_file():
        wrong = "is no file"
    elif not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        wrong = "cannot be written"
    if wrong:
        allowed = "a file that you can write, in a folder that exists"
        raise UserError(f"{option}={path}: {wrong}; allowed: {allowed}")


class VerbParser(argparse.ArgumentParser):
    """An argument parser that raises `UserError`; it has `--results` unless `results` is False.

    `paths.results=DIR`, as the runner has it, is the same as `--results DIR`.
    """

    def __init__(self, verb: str, description: str, *, results: bool = True) -> None:
        super().__init__(prog=f"bigain {verb}", description=description, allow_abbrev=False)
        self._has_results = results
        if results:
            self.add_argument(
                "--results",
                type=path_argument,
                metavar="DIR",
                help="the folder that holds runs/ (default: paths.results of the configuration); "
                "also paths.results=DIR",
            )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Also understands the runner's `paths.results=DIR`."""
        words = list(sys.argv[1:] if args is None else args)
        if self._has_results:
            words = [_OF_RUNNER.sub("--results=", word, count=1) for word in words]
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `UserError`, with a suggestion for a misspelt option or value."""
        wrong = _VALUE.fullmatch(message)
        if wrong is not None:
            allowed = wrong["choices"] or _KINDS.get(wrong["kind"], wrong["kind"])
            allowed = allowed.replace("'", "")
            hint = did_you_mean(wrong["value"], allowed.split(", "))
            raise UserError(f"{wrong['option']}={wrong['value']}: allowed: {allowed}{hint}")
        own = _OWN.fullmatch(message)
        if own is not None:
            raise UserError(f"{own['option']}={own['rest']}")
        unknown = message.removeprefix(_UNKNOWN) if message.startswith(_UNKNOWN) else ""
        word = unknown.partition(" ")[0].partition("=")[0]
        hint = did_you_mean(word, self._option_string_actions) if word.startswith("-") else ""
        usage = " ".join(self.format_usage().split())
        raise UserError(f"{self.prog}: {message}; {usage}{hint}")


def results_folder(given: Path | None) -> Path:
    """`given`, or else `paths.results` of the default configuration."""
    if given is not None:
        return given
    from bigain.launch.compose import compose_config  # noqa: PLC0415 -- loads hydra

    return compose_config().paths.results


def find_runs(results: Path, beginnings: Sequence[str]) -> list[str]:
    """For each of `beginnings` the id of the one run that begins so.

    Args:
        results: The folder of runs that have a folder, and of published ones of all profiles.
        beginnings: Run ids, or their first characters.

    Raises:
        UserError: There is none, or there are several.

    """
    from bigain.runs.archive import Archive  # noqa: PLC0415 -- loads pandas
    from bigain.runs.store import run_folders  # noqa: PLC0415

    ids = {folder.name for folder in run_folders(results)}
    for path in sorted(results.glob("*/runs.csv")):
        ids |= set(Archive(results, path.parent.name).run_ids())
    return [_one_of(ids, beginning, results) for beginning in beginnings]


def _one_of(ids: Collection[str], beginning: str, results: Path) -> str:
    found = sorted(name for name in ids if name.startswith(beginning))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"run_id={beginning}: several runs begin so: {', '.join(found)}")
    hint = did_you_mean(beginning, ids)
    raise UserError(
        f"run_id={beginning}: no such run; allowed: one of the {len(ids)} in {results}{hint}"
    )
