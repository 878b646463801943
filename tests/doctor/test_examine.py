import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.doctor import examine
from bigain.doctor.examine import Request, examine_everything, examine_runs
from bigain.doctor.findings import Finding
from bigain.testing.datasets import write_tiny

Compose = Callable[..., RunConfig]
PAPER = ["profile=paper", "backbone=sd20"]


def areas(found: Sequence[Finding], area: str) -> list[str]:
    return [each.subject for each in found if each.area == area]


def stopping(found: Sequence[Finding]) -> list[str]:
    return [each.subject for each in found if each.stops]


def test_a_run_of_the_mini_profile_is_ready(compose: Compose) -> None:
    found = examine_runs(Request((compose(),)))
    assert stopping(found) == []
    assert areas(found, "backbones") == ["mini_dit"]
    assert areas(found, "datasets") == ["fashion_mnist"]
    assert areas(found, "disk") == ["results"]


def test_what_several_runs_share_is_examined_once(compose: Compose) -> None:
    runs = [
        compose(*PAPER, "dataset=pets", *more)
        for more in ([], ["operator=tome", "operator.ratio=0.5"], ["operator=todo"])
    ]
    found = examine_runs(Request(tuple(runs)))
    assert areas(found, "backbones") == ["sd20"]
    assert areas(found, "datasets") == ["pets"]
    assert len(areas(found, "device")) == 1


def test_missing_weights_are_counted_as_a_download(compose: Compose, tiny_sd20: Path) -> None:
    run = compose(*PAPER, "dataset=pets")
    found = examine_runs(Request((run,)))
    assert areas(found, "disk") == ["results", "cache", "hub's cache"]
    own = compose(*PAPER, "dataset=pets", f"backbone.path={tiny_sd20}")
    assert "hub's cache" not in areas(examine_runs(Request((own,))), "disk")
    nowhere = compose(*PAPER, "dataset=pets", f"backbone.path={tiny_sd20 / 'nowhere'}")
    assert "hub's cache" not in areas(examine_runs(Request((nowhere,))), "disk")


def test_a_run_with_all_that_it_needs_is_ready(
    compose: Compose, tiny_sd20: Path, tmp_path: Path
) -> None:
    write_tiny("pets", tmp_path)
    own = [f"backbone.path={tiny_sd20}", f"dataset.root={tmp_path}", "dataset.limit=5"]
    found = examine_runs(Request((compose(*PAPER, "dataset=pets", *own),)))
    assert stopping(found) == []


def test_flops_need_neither_weights_nor_images(compose: Compose) -> None:
    found = examine_runs(Request((compose(*PAPER, "task=efficiency"),)))
    assert areas(found, "backbones") == areas(found, "datasets") == []
    assert stopping(found) == []


def test_generated_images_need_what_judges_them(compose: Compose) -> None:
    run = compose(*PAPER, "dataset=pets", "task=generation")
    judged = examine_runs(Request((run, run)))
    assert areas(judged, "backbones") == ["sd20", "inception"]
    assert areas(examine_runs(Request((run,), backbones=False)), "backbones") == []
    classified = examine_runs(Request((compose(*PAPER, "dataset=pets"),)))
    assert areas(classified, "backbones") == ["sd20"]


def test_generated_images_need_what_they_are_compared_with(
    compose: Compose, tmp_path: Path
) -> None:
    write_tiny("pets", tmp_path)
    few = [*PAPER, "dataset=pets", f"dataset.root={tmp_path}", "dataset.limit=5"]
    run = compose(*few, "task=generation")
    assert areas(examine_runs(Request((run, run))), "datasets") == ["pets", "reference"]
    assert "reference" in stopping(examine_runs(Request((run,))))
    assert areas(examine_runs(Request((run,), datasets=False)), "datasets") == []
    assert areas(examine_runs(Request((compose(*few),))), "datasets") == ["pets"]


def test_a_backbone_or_a_dataset_can_be_meant_alone(compose: Compose) -> None:
    run = compose(*PAPER, "dataset=pets")
    weights = examine_runs(Request((run,), datasets=False))
    assert (areas(weights, "backbones"), areas(weights, "datasets")) == (["sd20"], [])
    assert areas(weights, "disk") == ["hub's cache"]
    images = examine_runs(Request((run,), backbones=False))
    assert (areas(images, "backbones"), areas(images, "datasets")) == ([], ["pets"])


def test_coco_needs_its_extra(compose: Compose) -> None:
    found = examine_runs(Request((compose(*PAPER, "dataset=coco2017"),)))
    assert {each.subject: each.needed for each in found if each.area == "optional"}["coco"]
    found = examine_runs(Request((compose(*PAPER, "dataset=pets"),)))
    assert not {each.subject: each.needed for each in found if each.area == "optional"}["coco"]


def test_everything_is_shown_and_only_the_default_is_needed(compose: Compose) -> None:
    default, paper = compose(), compose(*PAPER, "dataset=pets")
    found = examine_everything(
        default, [default.backbone, paper.backbone], [default.dataset, paper.dataset]
    )
    assert areas(found, "backbones") == ["mini_dit", "sd20"]
    assert areas(found, "datasets") == ["fashion_mnist", "pets"]
    assert stopping(found) == []
    assert {each.subject for each in found if each.status != "ready"} >= {"sd20"}


def test_a_torch_that_does_not_import_is_one_finding(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise OSError("libcudart.so.12: cannot\nopen shared object file")

    monkeypatch.setattr(examine, "probe", broken)
    found = examine_runs(Request((compose(),)))
    assert stopping(found) == ["torch"]
    (torch,) = (each for each in found if each.subject == "torch")
    assert torch.what == "cannot be imported (libcudart.so.12: cannot open shared object file)"


def test_nothing_is_written(compose: Compose, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "hub")
    examine_runs(Request((compose(*PAPER, "dataset=pets", f"paths.results={tmp_path / 'r'}"),)))
    assert list(tmp_path.iterdir()) == []
