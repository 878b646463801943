import importlib.util
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from bigain.doctor import environment
from bigain.doctor.environment import EXTRAS, check_environment, check_extras
from bigain.doctor.findings import Finding

Versions = Callable[[Mapping[str, str | None]], None]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Versions:
    """Say that some packages have other versions, or (None) are not installed."""
    original = metadata.version

    def pretend(other: Mapping[str, str | None]) -> None:
        def version(name: str) -> str:
            found = other[name] if name in other else original(name)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return pretend


def by_subject() -> dict[str, Finding]:
    return {found.subject: found for found in check_environment()}


def test_this_environment_is_ready() -> None:
    found = by_subject()
    assert list(found) == ["python", "packages", "hub"]
    assert {each.status for each in found.values()} == {"ready"}
    assert platform.python_version() in found["python"].what
    assert f"torch {metadata.version('torch')}" in found["packages"].what


def test_an_older_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    found = by_subject()["python"]
    assert (found.status, found.what) == ("problem", "3.9.1 is not >=3.11")
    assert found.advice == ("make setup with such a Python first in PATH",)


def test_a_missing_package_is_named_with_its_range(versions: Versions) -> None:
    versions({"diffusers": None})
    found = by_subject()["diffusers"]
    assert (found.status, found.what) == ("missing", "is not installed")
    assert found.advice[0].startswith("pip install 'diffusers")
    assert "packages" not in by_subject()


def test_a_version_out_of_range_is_a_problem(versions: Versions) -> None:
    versions({"omegaconf": "9.0", "pydantic": "1.10"})
    found = by_subject()
    assert found["omegaconf"].what.startswith("9.0, not of ")
    assert found["pydantic"].status == "problem"


def test_torch_and_torchvision_must_be_a_pair(versions: Versions) -> None:
    torch = metadata.version("torch")
    versions({"torchvision": "0.1.0"})
    found = [each for each in check_environment() if each.subject == "torchvision"]
    assert found[-1].what == f"0.1.0 is not the one of torch {torch}"
    wanted = metadata.version("torch").split(".")[1]
    assert found[-1].advice == (f"pip install 'torchvision==0.{int(wanted) + 15}.*'",)


def test_a_package_whose_files_are_gone_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "scipy" else original(name)
    )
    found = by_subject()["scipy"]
    assert found.what.endswith("is installed, but there is no module scipy")
    assert found.advice == ("pip install --force-reinstall scipy",)


def test_the_hub_says_whether_it_may_be_asked(
    monkeypatch: pytest.MonkeyPatch, offline: Path
) -> None:
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert by_subject()["hub"].what == f"offline (HF_HUB_OFFLINE is set), cache {offline}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert by_subject()["hub"].what == f"may be asked for models, cache {offline}"
    assert by_subject()["hub"].advice == ()
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    assert "HF_HUB_OFFLINE=1" in by_subject()["hub"].advice[0]


def test_extras_are_optional_unless_they_are_needed(versions: Versions) -> None:
    versions({"pycocotools": None})
    found = {each.subject: each for each in check_extras(())}
    assert list(found) == list(EXTRAS)
    assert (found["coco"].status, found["coco"].stops) == ("missing", False)
    assert found["coco"].what == "pycocotools is not installed; for dataset=coco2017"
    assert found["coco"].advice == ("pip install -e '.[coco]' in the clone",)
    needed = {each.subject: each for each in check_extras({"coco"})}
    assert [name for name, each in needed.items() if each.stops] == ["coco"]


def test_an_installed_extra_is_ready() -> None:
    coco = next(each for each in check_extras({"coco"}) if each.subject == "coco")
    assert coco.status == "ready"
    assert coco.what.startswith("pycocotools ")


def test_extras_that_are_installed_are_found() -> None:
    """The launchers are all parts of one namespace package, which is no name of theirs."""
    found = {each.subject: each for each in check_extras(())}
    names = {"joblib": "hydra-joblib-launcher", "slurm": "submitit", "wandb": "wandb"}
    for extra, package in {**names, "trackio": "trackio"}.items():
        assert found[extra].status == "ready"
        assert f"{package} {metadata.version(package)}" in found[extra].what


def test_every_extra_is_declared() -> None:
    declared = environment._declared()
    assert {*EXTRAS, "dev"} == set(declared.extras)
    assert {"torch", "diffusers", "hydra-core"} <= {each.name for each in declared.packages}


def test_an_installed_package_knows_its_ranges_without_the_clone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    requires = ["torch>=2", "pycocotools>=2; extra == 'coco'", "wandb; extra == 'wandb'"]
    monkeypatch.setattr(environment, "_PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(metadata, "requires", lambda _: requires)
    monkeypatch.setattr(metadata, "metadata", lambda _: {"Requires-Python": ">=3.11"})
    declared = environment._declared()
    assert declared.python == ">=3.11"
    assert [each.name for each in declared.packages] == ["torch"]
    assert [each.name for each in declared.extras["coco"]] == ["pycocotools"]
    assert declared.extras["slurm"] == []
