"""Overrides as users type them: parsed by Hydra, with the paths that Hydra would misread.

Hydra refuses `paths.results=~/results`, because a bare `~` deletes a key, and only warns of a
search path that does not exist.
"""

import re
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from bigain.config.base import quoted
from bigain.errors import UserError
from bigain.locations import absolute_path

__all__ = ["SEARCH_PATH", "parse_overrides", "quote_homes"]

SEARCH_PATH = "hydra.searchpath"

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
