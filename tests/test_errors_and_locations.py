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
