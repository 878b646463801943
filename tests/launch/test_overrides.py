"""Overrides with paths, as users type them."""

from pathlib import Path

import pytest

from bigain.config.base import quoted
from bigain.errors import UserError
from bigain.launch.compose import config_loader
from bigain.launch.overrides import parse_overrides, quote_homes


def value(override: str) -> object:
    with config_loader() as loader:
        (parsed,) = parse_overrides(loader, [override])
    return parsed.value()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("paths.data=~/a b", "paths.data='~/a b'"),
        ("++paths.data=~me", "++paths.data='~me'"),
        ("hydra.searchpath=[file://~/a,pkg://b]", "hydra.searchpath=['file://~/a',pkg://b]"),
        ("paths.data='~/a'", "paths.data='~/a'"),
        ("paths.data=/a/~b", "paths.data=/a/~b"),
        ("~tracking", "~tracking"),
    ],
)
def test_a_value_in_a_home_needs_no_quotes(typed: str, expected: str) -> None:
    assert quote_homes(typed) == expected


def test_search_paths_are_absolute_and_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine (1)").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("mine (1)", "~/mine (1)", "$HOME/mine (1)"):
        listed = f"hydra.searchpath=['file://{name}','pkg://hydra.conf']"
        assert value(listed) == [f"file://{tmp_path}/mine (1)", "pkg://hydra.conf"]
    assert value("hydra.searchpath=[file://~]") == [f"file://{tmp_path}"]
    for name in ("nowhere", "~/nowhere", "$NOWHERE"):
        with pytest.raises(UserError, match=r"allowed: \[file://FOLDER\] of a folder that exists"):
            value(f"hydra.searchpath=[file://{name}]")


@pytest.mark.parametrize(
    "path", ["/a/b-1.0", "/a b", "/it's", "/a,b=(c)[d]", "\\", "/a\\'b\\", "~"]
)
def test_any_path_can_be_a_value(path: str) -> None:
    assert value(f"paths.data={quoted(path)}") == path


def test_an_ordinary_path_is_shown_without_quotes() -> None:
    assert quoted("/data/mine-1.0") == "/data/mine-1.0"
