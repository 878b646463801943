import json
import logging
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch

from bigain.config import RunConfig
from bigain.engine import build
from bigain.engine.build import build_flops
from bigain.engine.run import run
from bigain.engine.tasks import TASKS, build_task
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.operators import LGTM
from bigain.patching.projections import KeptProjections
from bigain.patching.selection import SiteSelection
from bigain.runs.samples import read_samples
from bigain.tasks.flops import count_flops
from bigain.testing.runs import read_metrics

FLOPS = ["task=efficiency", "task.measure=flops"]
QUICK = ["task=efficiency", "task.steps=2", "task.repeats=2", "task.warmup=1", "batch_size=1"]
ONE_TRIAL = ["dataset.limit=3", "task.trial_list=[1]", "task.keep_list=[1]"]
LGTM_7 = ["operator=lgtm", "operator.ratio=0.7"]


def test_every_task_of_the_configuration_can_be_built() -> None:
    (union,) = [get_args(RunConfig.model_fields["task"].annotation)]
    names = {get_args(kind.model_fields["name"].annotation)[0] for kind in union}
    assert names == set(TASKS)


def test_a_classification_has_a_record_per_image_and_hashes() -> None:
    task = build_task(compose_config(ONE_TRIAL))
    assert len(task.ids) == 3
    assert set(task.origin.hashes) == {"mini_dit/model.safetensors", "dataset/fashion_mnist"}
    records = list(task.records(task.ids[1:]))
    assert [record["image_id"] for record in records] == list(task.ids[1:])


def test_a_compiled_classification_says_what_compiling_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    plain = build_task(compose_config(ONE_TRIAL))
    eager = list(plain.records(plain.ids[:2]))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    task = build_task(compose_config([*ONE_TRIAL, "compile=true", f"paths.cache={tmp_path}"]))
    compiled = list(task.records(task.ids[:2]))
    assert [record["scores"] for record in compiled] == [record["scores"] for record in eager]
    facts = task.facts()["compiled"]
    assert facts["graphs"] == 1
    assert facts["seconds"] > 0


def test_an_automatic_batch_size_is_measured_for_the_first_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rate(_backbone: object, _device: object, size: int, **named: object) -> float | None:
        assert named["classes_each"] == 10
        assert isinstance(named["kept"], KeptProjections)
        return {1: 1.0, 2: 3.0}.get(size)

    monkeypatch.setattr(build, "evaluations_per_second", rate)
    command = [*ONE_TRIAL, *LGTM_7, "batch_size=auto", f"paths.cache={tmp_path}"]
    assert build_task(compose_config(command)).facts()["micro_batch"] == 2
    monkeypatch.setattr(
        build, "evaluations_per_second", lambda *_given, **_named: pytest.fail("again")
    )
    task = build_task(compose_config(command))
    assert task.facts()["micro_batch"] == 2
    (kept,) = json.loads((tmp_path / "batch_sizes.json").read_text())
    assert json.loads(kept)["operator"]["ratio"] == 0.7
    assert json.loads(kept)["machine"].endswith(f", {torch.backends.cpu.get_cpu_capability()}")


def test_a_run_without_a_compiler_ends_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setitem(TASKS, "classification", lambda _config: pytest.fail("loaded"))
    with pytest.raises(UserError, match=r"^compile=true: there is no C\+\+ compiler"):
        build_task(compose_config(["compile=true"]))


@pytest.mark.parametrize(
    ("measure", "ids", "unit"),
    [("flops", [0], "count"), ("time", [1, 2], "repeat"), ("all", [0, 1, 2], "repeat")],
)
def test_measurements_are_numbered(measure: str, ids: list[int], unit: str) -> None:
    task = build_task(compose_config([*QUICK, f"task.measure={measure}"]))
    assert (list(task.ids), task.unit, task.origin.hashes) == (ids, unit, {})
    assert (task.origin.attention_backend is None) == (measure == "flops")


def test_the_configured_operator_is_counted_at_the_configured_sites() -> None:
    config = compose_config(
        [*FLOPS, "backbone=dit_xl2_512", *LGTM_7, "backbone.sites.blocks=first12"]
    )
    expected = count_flops("dit_xl2_512", LGTM(0.7), SiteSelection(blocks="first12"))
    assert build_flops(config) == expected
    assert build_flops(compose_config([*FLOPS, "backbone=sd20"])) == count_flops("sd20")


def test_flops_of_the_papers_backbone_need_no_weights_and_no_data(tmp_path: Path) -> None:
    settings = [*FLOPS, "profile=paper", "backbone=sd20", *LGTM_7, "device=cuda"]
    outcome = run(compose_config([*settings, f"paths.results={tmp_path}"]))
    assert (outcome.status, outcome.computed) == ("done", 1)
    metrics = read_metrics(outcome.folder).set_index("metric")
    assert round(metrics["value"]["flops_g"], 2) == 704.99
    assert round(metrics["value"]["flops_saved_percent"], 2) == 12.34
    assert metrics["dataset"].isna().all()
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["weights"] == "none: counted on the meta device"
    assert manifest["columns"]["profile"] == "paper"


def test_time_is_a_run_like_any_other(tmp_path: Path) -> None:
    settings = [*QUICK, "task.measure=all", "backbone=mini_unet", "operator=abm", "threads=1"]
    config = compose_config([*settings, f"paths.results={tmp_path}"])
    outcome = run(config)
    assert (outcome.status, outcome.computed) == ("done", 3)
    samples = read_samples(outcome.folder)
    assert samples["measure"].tolist() == ["flops", "time", "time"]
    assert set(samples["threads"].dropna()) == {1}
    assert samples["attention_backend"][1].startswith("AttnProcessor2_0; sdpa: ")
    metrics = read_metrics(outcome.folder).set_index("metric")["value"]
    assert set(metrics.index) == {
        *("flops_g", "flops_saved_percent"),
        *("time_ms_per_step", "images_per_s", "speedup"),
    }
    times = samples["ms_per_step"].dropna()
    assert metrics["time_ms_per_step"] == pytest.approx(times.mean())
    again = run(config)
    assert (again.run_id, again.computed) == (outcome.run_id, 0)


def test_the_batch_is_the_papers_unless_it_is_set() -> None:
    assert compose_config(["task=efficiency"]).batch_size == 4
    assert compose_config(["task=efficiency", "batch_size=2"]).batch_size == 2
    assert compose_config([]).batch_size == 32


def test_a_missing_device_is_named_before_anything_is_built(tmp_path: Path) -> None:
    settings = [*QUICK, "task.measure=time", "device=cuda:9", f"paths.results={tmp_path}"]
    with pytest.raises(UserError, match="device=cuda:9: "):
        run(compose_config(settings))
    assert not (tmp_path / "runs").exists()
