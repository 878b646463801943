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
LIGHT = ["bigain", "bigain.cli.main", "bigain.launch.compose", "bigain.config", "bigain.locations"]
LIGHT += ["bigain.data.classes", "bigain.metrics", "bigain.runs", "bigain.tables"]
STDLIB = frozenset(sys.stdlib_module_names)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path: Path) -> Iterator[str]:
    """Full names of all modules imported anywhere in the file, also inside functions."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)} imports relatively"
            assert node.module is not None
            yield node.module
            if node.module == "bigain":
                yield from (f"bigain.{alias.name}" for alias in node.names)


def top_level(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def modules_below(folder: str) -> list[Path]:
    found = sorted((PACKAGE / folder).rglob("*.py"))
    assert found, f"bigain/{folder} has no module: this rule would check nothing"
    return found


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


def test_imported_sees_every_form_of_import(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "import a.b as c\nfrom d.e import f\nfrom bigain import runner\n"
        "def g() -> None:\n    import hydra\n"
    )
    assert set(imported(source)) == {"a.b", "d.e", "bigain", "bigain.engine.run", "hydra"}


# Who imports what.


def test_operators_import_torch_alone() -> None:
    own = ("bigain.operators", "bigain.errors")
    for path in modules_below("operators"):
        foreign = top_level(path) - STDLIB - {"torch", "bigain"}
        assert not foreign, f"{relative(path)} imports {sorted(foreign)}"
        other = {n for n in imported(path) if n.startswith("bigain.") and not n.startswith(own)}
        assert not other, f"{relative(path)} imports {sorted(other)}"


@pytest.mark.parametrize("folder", ["operators", "metrics", "tables"])
def test_pure_parts_import_neither_hydra_nor_wandb(folder: str) -> None:
    for path in modules_below(folder):
        assert not top_level(path) & {"hydra", "wandb"}, relative(path)


def test_metrics_know_nothing_of_running() -> None:
    for path in modules_below("metrics"):
        below = {name for name in imported(path) if name.startswith("bigain.")}
        other = {n for n in below if not n.startswith(("bigain.metrics", "bigain.errors"))}
        assert not other, f"{relative(path)} imports {sorted(other)}"


def test_only_entry_points_import_hydra() -> None:
    users = {relative(path) for path in MODULES if "hydra" in top_level(path)}
    assert users, "nobody imports hydra: this rule would check nothing"
    allowed = re.compile(r"bigain/(cli(_\w+)?|cli/\w+|compose|__main__)\.py")
    assert not {name for name in users if not allowed.fullmatch(name)}


def test_nothing_imports_the_entry_points() -> None:
    for path in MODULES:
        if relative(path).startswith(("bigain/cli", "bigain/__main__")):
            continue
        entry = {
            n for n in imported(path) if n == "bigain.cli.main" or n.startswith("bigain.cli.main.")
        }
        assert not entry, f"{relative(path)} imports {sorted(entry)}"


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


# Tests mirror modules.


def test_every_module_has_its_test() -> None:
    missing = [
        relative(path)
        for path in MODULES
        if path.name not in {"__init__.py", "__main__.py"}
        and not (
            ROOT / "tests" / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
        ).is_file()
    ]
    assert not missing


def test_the_tests_are_no_shorter_than_the_package() -> None:
    def total(paths: list[Path]) -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert total(TESTS) >= total(MODULES)


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
