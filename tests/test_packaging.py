"""The package as others get it: versions, licences, the wheel, the Makefile, the set-up script."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
INSTALLED = [Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS["dev"]]]
C4_TARGETS = ["setup", "demo", "test", "lint", "tableN", "tables", "figures", "report", "bench"]
C4_TARGETS += ["chaos", "clean", "help"]


def pins() -> dict[str, Version]:
    """Canonical name -> version of every line of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def run(
    *command: str | Path, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    for name in ("ARGS", "PROFILE", "RUN", "LIMIT", "PYTHON"):
        clean.pop(name, None)
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
    )


# Versions.


@pytest.mark.parametrize("requirement", INSTALLED, ids=lambda r: r.name)
def test_installed_versions_lie_in_the_declared_ranges(requirement: Requirement) -> None:
    assert importlib.metadata.version(requirement.name) in requirement.specifier


@pytest.mark.parametrize("requirement", INSTALLED, ids=lambda r: r.name)
def test_constraints_pin_every_direct_dependency_inside_its_range(requirement: Requirement) -> None:
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_dependencies_have_both_bounds(line: str) -> None:
    operators = {specifier.operator for specifier in Requirement(line).specifier}
    assert operators == {">=", "<"}


def test_constraints_serve_every_platform() -> None:
    assert not [n for n in pins() if n.startswith(("nvidia-", "cuda-", "triton", "pip"))]
    assert "bigain" not in pins()


def test_torch_and_torchvision_are_a_matching_pair() -> None:
    """torch 2.m goes with torchvision 0.(m + 15); the patch levels go together too."""
    torch, torchvision = pins()["torch"], pins()["torchvision"]
    assert (torch.major, torchvision.major) == (2, 0)
    assert torchvision.minor == torch.minor + 15
    assert torchvision.micro == torch.micro


def test_the_package_tells_its_version() -> None:
    code = "import bigain, sys; print(bigain.__version__); assert 'torch' not in sys.modules"
    done = run(sys.executable, "-c", code)
    assert done.stdout.strip() == PROJECT["version"], done.stderr


# Licences.


def test_the_licence_is_the_whole_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n" in text
    assert "Version 2.0, January 2004" in text
    assert all(f"   {n}. " in text for n in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize(
    ("licence", "owner", "sources"),
    [
        ("fashion-mnist", "2017 Zalando SE", ("Fashion-MNIST, copyright 2017 Zalando SE, MIT",)),
        (
            *("openclip", "2012-2021 Gabriel Ilharco, Mitchell Wortsman"),
            ("OpenCLIP", "TensorFlow Datasets", "torchvision"),
        ),
    ],
)
def test_assets_come_with_notice_and_licence(
    licence: str, owner: str, sources: tuple[str, ...]
) -> None:
    notice, path = (ROOT / "NOTICE").read_text(), f"bigain/assets/LICENSE-{licence}.txt"
    text = (ROOT / path).read_text()
    assert f"Copyright (c) {owner}" in text
    assert "The above copyright notice and this permission notice shall be" in text
    assert path in notice
    assert all(source in notice for source in sources)
    assert all((ROOT / name).exists() for name in re.findall(r"bigain/assets/[\w.-]+\w", notice))


# The wheel.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the committed and staged files, built without the network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = run("git", "ls-files", "-z")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    return Path(next(WheelBuilder(str(source)).build(directory=str(out), versions=["standard"])))


def test_the_wheel_holds_the_package_its_data_and_its_configuration(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    listed = run("git", "ls-files", "-z", "bigain", "configs").stdout.split("\0")
    committed = [name for name in listed if name and (ROOT / name).is_file()]
    wanted = {name if name.startswith("bigain/") else f"bigain/{name}" for name in committed}
    assert {"bigain/py.typed", "bigain/configs/config.yaml"} <= wanted
    assert wanted <= inside
    others = {name for name in inside - wanted if ".dist-info/" not in name}
    assert not others
    assert wheel.stat().st_size < 20 * 2**20


def test_the_wheel_works_away_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(installed)
    elsewhere.mkdir()
    done = run(
        *(sys.executable, "-P", "-m", "bigain", "--cfg", "job"),
        cwd=elsewhere,
        PYTHONPATH=str(installed),
    )
    assert done.returncode == 0, done.stderr
    assert "operator:" in done.stdout
    code = "from bigain.locations import ASSETS, CONFIGS; print(ASSETS); print(CONFIGS)"
    shown = run(sys.executable, "-P", "-c", code, cwd=elsewhere, PYTHONPATH=str(installed))
    assert [Path(line).is_relative_to(installed) for line in shown.stdout.split()] == [True, True]


# The Makefile.


def test_help_lists_every_target_of_the_contract() -> None:
    done = run("make", "help")
    listed = re.findall(r"^  ([\w-]+)  +\S", done.stdout, flags=re.MULTILINE)
    assert done.returncode == 0
    assert set(C4_TARGETS) <= set(listed)
    assert run("make").stdout == done.stdout


TABLE = "-m bigain table"
PAPER = ("PROFILE=paper", "RUN=0", "LIMIT=20")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["figures"], r"-m bigain figures --profile mini"),
        (["figures", "PROFILE=paper", "ARGS=2 5"], r"-m bigain figures --profile paper 2 5"),
        (["report", "PROFILE=paper", "ARGS=--results x"], "report --profile paper --results x"),
        (["test", "WORKERS=3"], r"OMP_NUM_THREADS=1 .*HF_HUB_OFFLINE=1 .*-m pytest -n 3"),
        (
            ["train-mini"],
            r"(?s)train_mini\.py training=mini_unet.*train_mini\.py training=mini_dit",
        ),
        *(([f"table{n}"], rf"{TABLE} {n} --profile mini\s*$") for n in (1, 4, 19)),
        *(
            ([f"table{n}", *PAPER], f"{TABLE} {n} --profile paper --no-run --limit 20")
            for n in (1, 4, 19)
        ),
    ],
)
def test_targets_pass_their_variables_on(words: list[str], command: str) -> None:
    assert re.search(command, run("make", "-n", *words).stdout, re.MULTILINE)


def test_a_campaign_is_all_tables_with_an_estimate_first() -> None:
    shown = run("make", "-n", "campaign", "GRID=full").stdout.splitlines()
    commands = [line for line in shown if "bigain table all" in line]
    assert any("figures report ARGS=" in line for line in shown), "also after a failing run"
    assert ["--dry-run" in command for command in commands] == [True, False]
    assert all("--grid full" in command for command in commands)


def test_ci_does_what_a_newcomer_does() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert run("bash", "-n", script).returncode == 0
    stages = re.findall(
        r"^stage .* make --no-print-directory (\w+)(?: .*)?$", script.read_text(), re.M
    )
    assert stages == ["setup", "lint", "collect", "demo", "chaos", "test"]


# The set-up script, with a stand-in for Python.

STAND_IN = """#!/bin/sh
case "$*" in
    -V) echo "Python 3.12.9" ;;
    *ensurepip*) exit @ENSUREPIP@ ;;
    *"print("*) echo 3.12 ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip"*) echo "$*" >> pip.log; exit @PIP@ ;;
    -c*) exit @RECENT@ ;;
esac
"""


def set_up(
    folder: Path, ensurepip: int = 0, pip: int = 0, recent: int = 0, uv: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script in a copy of the repository's bones; the codes are what Python answers."""
    (folder / "scripts").mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOT / "scripts/setup.sh", folder / "scripts")
    python = folder / "a python"
    text = STAND_IN.replace("@ENSUREPIP@", str(ensurepip))
    python.write_text(text.replace("@PIP@", str(pip)).replace("@RECENT@", str(recent)))
    python.chmod(0o755)
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("sh", "dirname", "rm", "mkdir", "cp"):
        found = shutil.which(name)
        if found and not (tools / name).exists():
            (tools / name).symlink_to(found)
    if uv:
        (tools / "uv").write_text(uv)
        (tools / "uv").chmod(0o755)
    script = folder / "scripts/setup.sh"
    return run(tools / "sh", script, cwd=Path("/"), PYTHON=str(python), PATH=str(tools))


def test_setup_installs_the_pinned_versions(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    done = set_up(folder)
    assert done.returncode == 0, done.stderr
    assert "Creating .venv with Python 3.12.9" in done.stdout
    assert "Done" in done.stdout
    log = (folder / "pip.log").read_text()
    assert log.startswith("-m pip install -qq ")
    assert log.endswith("-c constraints.txt -e .[dev]\n")


def test_setup_installs_the_pinned_versions_with_uv_where_it_is(tmp_path: Path) -> None:
    done = set_up(tmp_path, uv='#!/bin/sh\necho "$*" >> uv.log\n')
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "uv.log").read_text().split()
    assert words[:2] == ["pip", "install"]
    assert words[-6:] == ["--python", ".venv/bin/python", "-c", "constraints.txt", "-e", ".[dev]"]
    assert not (tmp_path / "pip.log").exists()


def test_setup_keeps_a_working_environment_and_replaces_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/left-over").touch()
    assert "Creating" in set_up(tmp_path).stdout
    assert not (tmp_path / ".venv/left-over").exists()
    again = set_up(tmp_path)
    assert again.returncode == 0
    assert "Creating" not in again.stdout


@pytest.mark.parametrize(
    ("answers", "advice"),
    [
        ({"ensurepip": 1}, "apt-get install python3.12-venv"),
        ({"recent": 1}, r"no Python >= 3.11.*brew install"),
    ],
)
def test_setup_names_what_is_missing(tmp_path: Path, answers: dict[str, Any], advice: str) -> None:
    done = set_up(tmp_path, **answers)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert re.search(advice, done.stderr)
    assert not (tmp_path / ".venv").exists()


def test_setup_fails_when_pip_fails(tmp_path: Path) -> None:
    done = set_up(tmp_path, pip=1)
    assert done.returncode != 0
    assert "Done" not in done.stdout
