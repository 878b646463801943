"""Overrides as users type them: parsed by Hydra, with the paths that Hydra would misread.

Hydra refuses `paths.results=~/results`, because a bare `~` deletes a key, and only warns of a
search path that does not exist.
"""

import re
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode

from bigain.config.base import quoted
from bigain.config.messages import did_you_mean
from bigain.errors import UserError
from bigain.locations import absolute_path

__all__ = [
    "SEARCH_PATH",
    "TRACKING",
    "check_listed_trackers",
    "check_trackers",
    "parse_overrides",
    "quote_homes",
    "refuse_tracker_sweep",
]

SEARCH_PATH = "hydra.searchpath"
TRACKING = "tracking"

_FILE = "file://"
_FOLDERS = "[file://FOLDER] of a folder that exists"
_HOME = re.compile(rf"(?<=[=\[,])(?:{_FILE})?~[^,\[\](){{}}]*")
"""A value that begins with `~`, or a search path below a home."""


def parse_overrides(loader: ConfigLoader, overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed by Hydra, with absolute search paths.

    Raises:
        UserError: The syntax is wrong, or a search path does not exist.

    """
    parser = OverridesParser.create(config_loader=loader)
    parsed: list[Override] = []
    for text in overrides:
        try:
            (override,) = parser.parse_overrides([quote_homes(text)])
        except HydraException as error:
            allowed = "key=value, with quotes around special characters and brackets in pairs"
            raise UserError(f"{text}: not understood; allowed: {allowed}") from error
        if override.key_or_group == SEARCH_PATH:
            (override,) = parser.parse_overrides([_absolute(override)])
        parsed.append(override)
    return parsed


def check_trackers(text: str, names: Sequence[object], known: Sequence[str] = ()) -> None:
    """Check a list of trackers; no other group takes several options.

    Args:
        text: The override, for messages.
        names: The options in it.
        known: The options that there are; empty if Hydra found them all.

    Raises:
        UserError: It is empty, or names one twice, `none` beside others or an unknown one.

    """
    options, words = [name for name in known if name != "none"], [str(name) for name in names]
    wrong = [word for word in words if known and word not in known]
    if wrong or not words or len({*words}) < len(words) or ("none" in words and len(words) > 1):
        allowed = ", ".join(options) or "trackers"
        hint = did_you_mean(wrong[0], options) if wrong else ""
        raise UserError(f"{text}: allowed: {TRACKING}=none, or different ones of {allowed}{hint}")


def check_listed_trackers(config_name: str, overrides: Sequence[str]) -> None:
    """Check the list of trackers of an experiment as one of the command line; Hydra is started.

    Raises:
        UserError: It is a list that no command line may have.

    """
    loader, prefix = GlobalHydra.instance().config_loader(), f"{TRACKING}/"
    found = loader.compute_defaults_list(config_name, list(overrides), RunMode.RUN).defaults
    options = loader.get_group_options(TRACKING)
    paths = [path for path in (str(each.config_path) for each in found) if path.startswith(prefix)]
    names = [name for name in (path.removeprefix(prefix) for path in paths) if name in options]
    check_trackers(f"{TRACKING}=[{','.join(names)}]", names, options)


def refuse_tracker_sweep(parsed: Sequence[Override]) -> None:
    """Raise UserError for a sweep over trackers: the second run of each pair is done already."""
    for override in parsed:
        if override.key_or_group == TRACKING and override.is_sweep_override():
            text = str(override.input_line)
            both = f"{TRACKING}=[{text.partition('=')[2]}]"
            raise UserError(f"{text}: would make each run once, for the first; allowed: {both}")


def quote_homes(text: str) -> str:
    """An override whose values that begin with `~` are in quotes, so that Hydra takes them."""
    return text if "'" in text or '"' in text else _HOME.sub(r"'\g<0>'", text)


def _absolute(override: Override) -> str:
    """The search path with absolute folders, which must exist."""
    typed, value = str(override.input_line), override.value()
    entries = value if isinstance(value, list) else [value]
    listed = ",".join(quoted(_absolute_entry(typed, str(entry))) for entry in entries)
    return f"{typed.partition('=')[0]}=[{listed}]"


def _absolute_entry(typed: str, entry: str) -> str:
    if not entry.startswith(_FILE):  # pkg://...
        return entry
    try:
        folder = absolute_path(entry.removeprefix(_FILE))
    except ValueError as error:
        raise UserError(f"{typed}: {error}; allowed: {_FOLDERS}") from error
    if not folder.is_dir():
        raise UserError(f"{typed}: allowed: {_FOLDERS}")
    return f"{_FILE}{folder}"
