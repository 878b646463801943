"""The rules of the code that no linter knows: light imports, sizes, the house, portable text."""

import ast
import contextlib
import functools
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "bigain").rglob("*.py"))
SCRIPTS = sorted(p for name in ("benchmarks", "scripts") for p in (ROOT / name).glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LIGHT = ["bigain", "bigain.cli.main", "bigain.config", "bigain.data", "bigain.launch"]
LIGHT += ["bigain.locations", "bigain.metrics", "bigain.runs", "bigain.tables"]
LONG: dict[str, str] = {
    "bigain/operators/downsampling.py": "pooling, schedules of alpha and the three operators",
    "bigain/tables/planner.py": "a plan, and which of its runs get a user's overrides",
    "bigain/tables/spec.py": "all parts of the specification of a table",
    "bigain/tables/panels.py": "all rectangles of a table, of measured and of printed values",
    "bigain/launch/compose.py": "composing, and one line for what Hydra refuses",
}
"""Module -> why it may have 300 to 400 lines."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def function_lengths(path: Path) -> dict[str, int]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(parse(path)) if isinstance(node, kinds)]
    return {f"{n.name}:{n.lineno}": (n.end_lineno or n.lineno) - n.lineno + 1 for n in found}


# What loads what; the floors are a contract of import-linter.


def test_importing_light_modules_loads_no_torch() -> None:
    """Each of them and, for a package, every module below it; in a fresh interpreter."""
    code = (
        "import importlib, pkgutil, sys\n"
        f"for name in {LIGHT!r}:\n"
        "    top = importlib.import_module(name)\n"
        "    below = getattr(top, '__path__', []) if name != 'bigain' else []\n"
        "    for found in pkgutil.walk_packages(below, name + '.'):\n"
        "        importlib.import_module(found.name)\n"
        "    heavy = {'torch', 'diffusers', 'wandb'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} loads {heavy}'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_the_design_shows_the_floors_of_the_import_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("house", ROOT / "scripts" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    design = ROOT / "docs" / "design.md"
    assert house.main(["--check", str(design)]) == 0, capsys.readouterr().out
    assert len(house.floors()) == 8
    other = tmp_path / "design.md"
    other.write_text(design.read_text("utf-8").replace("| cli ", "| cIi "), encoding="utf-8")
    assert house.main(["--check", str(other)]) == 1
    assert house.main(["--write", str(other)]) == 0
    assert other.read_bytes() == design.read_bytes()


# Sizes and form.


def test_modules_stay_small() -> None:
    lengths = {relative(p): len(p.read_text("utf-8").splitlines()) for p in [*MODULES, *SCRIPTS]}
    limits = {name: 400 if name in LONG else 300 for name in lengths}
    assert {name: n for name, n in lengths.items() if n >= limits[name]} == {}
    assert set(LONG) <= {name for name, n in lengths.items() if n >= 300}


def test_functions_stay_small() -> None:
    lengths = {relative(path): function_lengths(path) for path in [*MODULES, *SCRIPTS]}
    assert {m: f for m, own in lengths.items() for f, n in own.items() if n > 60} == {}
    assert statistics.median(n for path in MODULES for n in function_lengths(path).values()) <= 12


def test_modules_say_what_they_export() -> None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    code = [p for p in MODULES if any(isinstance(node, kinds) for node in parse(p).body)]
    exporting = re.compile(r"^__all__\b", re.MULTILINE)
    assert [relative(p) for p in code if not exporting.search(p.read_text("utf-8"))] == []


def test_test_folders_are_no_packages() -> None:
    assert not [relative(path) for path in TESTS if path.name == "__init__.py"]


def test_no_test_is_skipped_or_left_for_later() -> None:
    words = ["mark." + "skip", "pytest." + "skip", "x" + "fail(", "importor" + "skip"]
    words += ["TO" + "DO", "FIX" + "ME"]
    # A browser or a TeX that the machine lacks: the fixture `program` says so, and nobody else.
    exempt = {"tests/conftest.py": "pytest." + "skip"}
    for path in [*MODULES, *SCRIPTS, *TESTS]:
        text = path.read_text(encoding="utf-8")
        found = {word for word in words if word in text} - {exempt.get(relative(path))}
        assert not found, relative(path)


# Portable text.


def committed_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            with contextlib.suppress(UnicodeDecodeError):
                yield name, path.read_bytes().decode("utf-8")


def test_committed_files_name_no_machine() -> None:
    """No folder of somebody's machine, and no host of a package registry or mirror."""
    folder = re.compile(r"(?<![\w.~$}*/-])/(?:home|Users|root|work|workspace|mnt|scratch)/\w")
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "--index" + "-url"]
    hosts += ["find" + "-links", "deb." + "debian.org"]
    names = []
    for name, text in committed_texts():
        names.append(name)
        found = folder.findall(text) + [host for host in hosts if host in text]
        assert not found, f"{name} names {found}"
    assert "pyproject.toml" in names


def test_committed_text_ends_with_one_line_end_and_has_no_windows_ones() -> None:
    for name, text in committed_texts():
        if name.startswith("results/") or name.endswith(".csv"):
            continue  # data: as csv writers and renderers leave it
        assert "\r" not in text, name
        assert not text or (text.endswith("\n") and not text.endswith("\n\n")), name
