"""The modules of the lowest floor that need no folder of their own: errors and locations."""

import importlib
from pathlib import Path

import pytest

import bigain
from bigain import locations
from bigain.cli import main as cli
from bigain.errors import UserError


def test_a_user_error_ends_the_command_line_with_code_two_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> int:
        raise UserError("a=b: allowed: c")

    monkeypatch.setattr("bigain.cli.status.main", refuse)
    assert cli.main(["status"]) == 2
    assert capsys.readouterr().err == "a=b: allowed: c\n"
    assert UserError.__mro__[1] is Exception, "except ValueError must not catch it"


def test_configuration_and_assets_exist() -> None:
    assert (locations.CONFIGS / "config.yaml").is_file()
    assert locations.CONFIGS.is_absolute()
    assert Path(bigain.__file__).resolve().parent == locations.ASSETS.parent
    assert (locations.ASSETS / "paper_tables.csv").is_file()


def test_an_installed_package_reads_its_own_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bigain"
    (package / "configs").mkdir(parents=True)
    (package / "locations.py").write_text(Path(locations.__file__).read_text())
    monkeypatch.syspath_prepend(package)
    monkeypatch.delitem(importlib.sys.modules, "locations", raising=False)  # type: ignore[attr-defined]
    copied = importlib.import_module("locations")
    assert package.resolve() / "configs" == copied.CONFIGS


def test_a_path_is_meant_as_in_a_shell_and_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/me")
    monkeypatch.setenv("DISK", "/disk")
    monkeypatch.chdir(tmp_path)
    meant = {
        "~": "/me",
        "~/data": "/me/data",
        "$DISK/data": "/disk/data",
        "${DISK}/a$DISK": "/disk/a/disk",
        "/a/~/b": "/a/~/b",
        "./~": f"{tmp_path}/~",
        "data": f"{tmp_path}/data",
        "a$": f"{tmp_path}/a$",
    }
    assert {path: str(locations.absolute_path(path)) for path in meant} == meant


def test_a_user_or_variable_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    for path in ("$NOWHERE/a", "/a/${NOWHERE}"):
        with pytest.raises(ValueError, match=r"no environment variable NOWHERE$"):
            locations.absolute_path(path)
    with pytest.raises(ValueError, match=r"no user ~nobody-of-this-name$"):
        locations.absolute_path("~nobody-of-this-name/a")
