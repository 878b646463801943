"""The rules of the code that no linter knows: who imports what, sizes, mirrors, portable text."""

import ast
import contextlib
import functools
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bigain"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(p for name in ("benchmarks", "scripts") for p in (ROOT / name).glob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LIGHT = ["bigain", "bigain.cli.main", "bigain.launch", "bigain.config", "bigain.locations"]
LIGHT += ["bigain.data.classes", "bigain.metrics", "bigain.runs", "bigain.tables"]
STDLIB = frozenset(sys.stdlib_module_names)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def has_code(path: Path) -> bool:
    body = parse(path).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)


# What loads what.


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_no_torch(module: str) -> None:
    """The module and, for a package, every module below it; in a fresh interpreter."""
    code = (
        "import importlib, pkgutil, sys\n"
        f"top = importlib.import_module({module!r})\n"
        "below = getattr(top, '__path__', []) if top.__name__ != 'bigain' else []\n"
        "for found in pkgutil.walk_packages(below, top.__name__ + '.'):\n"
        "    importlib.import_module(found.name)\n"
        "print(*sorted({'torch', 'diffusers', 'wandb'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# Sizes and form.


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=relative)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=relative)
def test_functions_stay_small(path: Path) -> None:
    long = {node.name: lines_of(node) for node in functions(path) if lines_of(node) > 60}
    assert not long


def test_the_typical_function_is_short() -> None:
    lengths = [lines_of(node) for path in MODULES for node in functions(path)]
    assert statistics.median(lengths) <= 12


@pytest.mark.parametrize("path", [p for p in MODULES if has_code(p)], ids=relative)
def test_modules_say_what_they_are_and_what_they_export(path: Path) -> None:
    assert ast.get_docstring(parse(path)), "no module docstring"
    targets = [
        target.id
        for node in parse(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert "__all__" in targets


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
