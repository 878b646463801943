import importlib
from pathlib import Path

import pytest

import bigain
from bigain import locations


def test_the_configuration_is_where_it_is_looked_for() -> None:
    assert (locations.CONFIGS / "config.yaml").is_file()
    assert locations.CONFIGS.is_absolute()


def test_the_assets_are_inside_the_package() -> None:
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
