"""What the parts of `make bench` compute from times, and the page that is made of their files."""

import csv
import json
import shlex
import subprocess
import tempfile
from pathlib import Path

import bench
import engine
import engine_variants
import frechet
import growth
import operators
import page
import pandas as pd
import peak
import precision
import pytest
import steady
import timing
import torch
from plain_loop import classify_plainly
from random_backbone import RandomBackbone
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bigain.engine.build import build_backbone, build_dataset
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.patching import onednn
from bigain.patching.projections import KeptProjections
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["mini_unet", "mini_dit"])
def test_the_plain_loop_decides_as_the_classifier_does(name: str) -> None:
    config = compose_config([f"backbone={name}"])
    backbone = build_backbone(config.backbone, CPU, "float32")
    protocol = StagedProtocol((1, 3), (4, 1))
    data = build_dataset(config.dataset)
    images = [(at, backbone.encode(data[at].image)) for at in range(3)]
    classifier = DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=0, batch_size=16, device=CPU
    )
    ours = [result.prediction for result in classifier.classify(images)]
    assert classify_plainly(backbone, protocol, images, 7, CPU) == ours
    assert len(set(ours)) > 1


def test_the_best_batch_size_is_that_of_the_least_seconds() -> None:
    rows = [
        {"variant": variant, "batch_size": size, "seconds": seconds}
        for variant, size, seconds in [("a", 8, 3.0), ("a", 32, 2.0), ("b", 16, 1.0)]
    ]
    assert engine.best_size(rows, "a") == 32
    assert engine.best_size(rows, "b") == 16


def test_a_classifier_that_goes_on_counts_its_rows_and_repeats_its_images() -> None:
    work = engine_variants.work_of("mini_unet", 2)
    work = work._replace(protocol=StagedProtocol((1, 3), (4, 1)))
    plain = classify_plainly(work.backbone, work.protocol, work.images, 7, CPU)
    endless = steady.Steady(work, 16)
    rounds = [engine_variants._round(endless, work) for _ in range(3)]
    assert [each.predictions for each in rounds] == 3 * [plain]
    assert [each.rows for each in rounds] == endless.rows[1:]
    assert all(count % 16 == 0 for count in endless.rows)
    evaluations = 2 * (10 + 4 * 2)
    assert abs(sum(endless.rows) - 4 * evaluations) <= 2 * evaluations


def test_seconds_are_those_of_the_evaluations_of_the_images() -> None:
    found = [engine_variants.Round(3.0, 500, [1, 2]), engine_variants.Round(8.0, 250, [1, 2])]
    rows = engine._rows("mini_unet", "ours", 32, found, [1, 2])
    assert [row["evaluations"] for row in rows] == [250, 250]  # two images, 50 + 75 of each
    assert [row["seconds"] for row in rows] == [1.5, 8.0]
    assert [row["equal_predictions"] for row in rows] == [2, 2]
    compiled = engine._rows("mini_unet", "compile", 32, found, [1, 3])
    assert [row["equal_predictions"] for row in compiled] == [1, 1]
    found[0] = found[0]._replace(predictions=[0, 2])  # of the first round alone
    changing = engine._rows("mini_unet", "compile", 32, found, [1, 2])
    assert [row["equal_predictions"] for row in changing] == [1, 1]
    found[0] = found[0]._replace(predictions=[1, 2])
    with pytest.raises(SystemExit, match="ours"):
        engine._rows("mini_unet", "ours", 32, found, [1, 3])


@pytest.mark.parametrize(
    ("variant", "is_kept"), [("ours", True), ("plain loop", False), ("memory not kept", False)]
)
def test_only_variants_that_say_so_keep_memory(
    variant: str, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(engine_variants, "keep_freed_memory", lambda: calls.append(variant))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    setting = engine_variants.VARIANTS[variant]
    classify = engine_variants.begin(setting, "mini_unet", 16, 1, tmp_path)
    assert len(classify().predictions) == 1
    assert calls == [variant] * is_kept


@pytest.mark.parametrize(
    ("variant", "uses_onednn"),
    [
        *[("ours", True), ("no sharing", True), ("compile", True)],
        *[("linear layers by MKL", False), ("compile, linear layers by MKL", False)],
        *[("plain loop", False), ("plain loop, memory kept", False)],
    ],
)
@pytest.mark.parametrize("is_random", [False, True])
def test_variants_differ_in_their_linear_layers(
    variant: str, uses_onednn: bool, is_random: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    with engine_variants._without(engine_variants.VARIANTS[variant]):
        work = engine_variants.work_of("mini_dit", 1)
        backbone = RandomBackbone("mini_dit", 10, CPU) if is_random else work.backbone
    kinds = {type(each) for each in backbone.denoiser.modules() if isinstance(each, nn.Linear)}
    assert (onednn.OneDnnLinear in kinds) is uses_onednn


@pytest.mark.parametrize("variant", ["ours", "no kept projections"])
def test_a_variant_projects_prompts_at_every_forward(variant: str, tiny_unet: nn.Module) -> None:
    context = torch.randn(4, 3, 6)
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    with (
        engine_variants._without(engine_variants.VARIANTS[variant]),
        KeptProjections(tiny_unet, context),
    ):
        is_kept = not isinstance(tiny_unet.get_submodule(path), nn.Linear)
    assert is_kept is (variant == "ours")


def test_variants_that_are_ours_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "is_faster", lambda: False)
    plain = {"plain loop", "plain loop, memory kept"}
    common = {"ours", *plain, "memory not kept"}
    assert set(engine.default_variants("dit_xl2_512")) == common
    assert set(engine.default_variants("sd20")) == {*common, "no sharing", "no kept projections"}
    assert "no kept projections" not in engine.default_variants("mini_unet")
    assert "linear layers by MKL" not in engine.default_variants("mini_dit")
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    assert set(engine.default_variants("dit_xl2_512")) == {*common, "linear layers by MKL"}
    assert "compile, linear layers by MKL" in engine.default_variants("mini_dit")


def test_three_processes_of_full_size_fit_the_memory() -> None:
    names = list(engine_variants.VARIANTS)
    found = engine.groups("sd20", names)
    assert all(len(group) <= 3 and group[0] == "plain loop" for group in found)
    others = [name for group in found for name in group[1:]]
    assert sorted([*others, "plain loop"]) == sorted(names)
    assert engine.groups("mini_unet", ["compile", "ours"]) == [["plain loop", "ours", "compile"]]
    assert engine.groups("sd20", ["plain loop"]) == [["plain loop"]]


@pytest.mark.parametrize("axis", list(growth._AXES))
def test_points_of_growth_are_full_batches(axis: str) -> None:
    for value in growth._AXES[axis]:
        backbone, protocol, images, size, _ = growth._task(axis, value).args
        evaluations = len(images) * protocol.evaluations(backbone.num_classes)
        assert evaluations % size == 0
        assert size <= evaluations


def test_the_exponent_of_growth() -> None:
    assert growth.exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


def test_the_peak_is_that_of_the_fastest_product_of_each_round() -> None:
    seconds = {"forward": [9.0, 9.0], "a": [2.0, 1.0], "b": [4.0, 8.0]}
    best = peak.peaks(seconds, {"a": 10, "b": 24})
    assert best == [("b", 6.0), ("a", 10.0)]


def test_the_products_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their FLOPs, as torch counts them."""
    monkeypatch.setattr(peak, "_SIDE", 64)
    monkeypatch.setattr(peak, "_CHANNELS", 8)
    for name, (product, flops) in peak.products().items():
        with FlopCounterMode(display=False) as counted:
            product()
        assert counted.get_total_flops() == flops, name
    assert len(peak.products()) == 2 + torch.backends.mkldnn.is_available()


@pytest.mark.parametrize("has_names", [False, True])
def test_the_page_says_what_the_peak_is_of(has_names: bool) -> None:
    names = {"peak_of": ["torch.mm", "oneDNN"]} if has_names else {}
    numbers = {"forward_s": [2.0, 2.0], "peak_gflop_per_s": [9.0, 11.0]}
    about = {"backbone": ["sd20"] * 2, "batch": [1, 1], "forward_gflops": [10.0, 10.0]}
    rows = pd.DataFrame({**about, **numbers, **names, "share_of_peak": [0.5, 0.4]})
    _, (line,) = page._peak(rows)
    assert line[4] == "10"
    assert line[5] == ("oneDNN, torch.mm" if has_names else "torch.mm 2048 x 2048")
    assert line[6] == (0.45, 0.4, 0.5)


def test_precisions_are_compared_image_by_image() -> None:
    """Records of three images beside those of four in another order, the last one not asked for."""
    reference = [
        {"image_id": each, "prediction": each % 3, "true_errors": [1.0, 2.0]} for each in range(4)
    ]
    own = [{**record, "true_errors": [1.0, 2.5]} for record in reference[2::-1]]
    own[1]["prediction"] = 2
    found = precision.row(own, reference)
    assert (found["images"], found["equal_predictions"], found["other_images"]) == (3, 2, "1")
    assert found["largest_relative"] == 0.25
    # Wilson by hand: z = 1.96, k = 2, n = 3.
    assert (found["equal_low"], found["equal_high"]) == pytest.approx((20.77, 93.85), abs=0.01)
    _, (line,) = page._precision(pd.DataFrame([{"backbone": "a", "operator": "none", **found}]))
    assert line[2:4] == ["2 of 3", "66.67 [20.77, 93.85]"]


def test_a_precision_without_committed_records_is_refused() -> None:
    own = ("backbone=mini_dit", "operator=lgtm", "operator.ratio=0.7", "seed=99")
    with pytest.raises(UserError, match=r"seed=99 dataset\.limit=1000"):
        precision.committed(own)
    assert len(precision.committed(("backbone=mini_dit",))) == 1000


@pytest.mark.parametrize("processes", [1, 2])
def test_the_page_has_an_exponent_of_growth_for_each_process(processes: int) -> None:
    times = {0: [1.0, 2.0, 4.0], 1: [1.0, 4.0, 16.0]}
    rows = pd.DataFrame(
        [
            {"axis": "images", "value": value, "process": process, "seconds": seconds}
            for process in range(processes)
            for value, seconds in zip([1, 2, 4], times[process], strict=True)
        ]
    )
    older = rows.drop(columns="process") if processes == 1 else rows
    _, ((axis, _, power),) = page._growth(older)
    expected = (1.0, 1.0, 1.0) if processes == 1 else (1.5, 1.0, 2.0)
    assert axis == "images"
    assert power == pytest.approx(expected)


def test_operators_are_compared_round_by_round() -> None:
    seconds = {"plain": [4.0, 8.0], "ToMe whole": [2.0, 2.0]}
    for name, own in (("ToMe", 1.0), ("tomesd", 2.0)):
        seconds |= {f"{name} {part}": [own, own] for part in ("plan", "reduce", "restore")}
    ours, theirs = operators.table(seconds)
    assert (ours["sum_ms"], ours["of_tomesd"]) == (3000.0, 0.5)
    assert (ours["of_attention_low"], ours["of_attention_high"]) == (0.25, 0.5)
    assert theirs["of_attention"] == ""


def test_distances_are_read_from_both_commands() -> None:
    found = {"metrics": [{"metric": "kid", "value": 1}, {"metric": "fid", "value": 2.5}]}
    assert frechet.distance("bigain fid", json.dumps(found)) == 2.5
    assert frechet.distance("pytorch-fid", "100%|##|\nFID:  2.25\n") == 2.25


def test_every_part_has_a_script_and_a_section() -> None:
    assert set(bench.PARTS) == set(page.SECTIONS)
    for part in bench.PARTS.values():
        assert (ROOT / "benchmarks" / f"{part.script}.py").exists()
        words = shlex.split(part.command(is_quick=True))
        assert words[:2] == ["python", f"benchmarks/{part.script}.py"]


def test_the_page_has_ratios_of_rounds_of_one_process(tmp_path: Path) -> None:
    place = {"commit": "abc", "made": "2026-01-02T03:04:05", "device": "a chip", "cores": 2}
    place |= {"torch": "2.9", "threads": 1, "command": "python this"}
    file = timing.RowFile(tmp_path / "engine.csv", place)
    seconds = {("plain loop", 0): 4.0, ("plain loop", 1): 9.0, ("ours", 0): 2.0, ("ours", 1): 3.0}
    for (variant, process), each in seconds.items():
        own = {"batch_size": 8, "images": 3, "process": process, "round": 0, "seconds": each}
        own["equal_predictions"] = 3 if variant == "plain loop" else 2
        file.add(backbone="sd20", variant=variant, **own)
    page.write_page(tmp_path)
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "| sd20 | ours | 8 | 1.25 | 2.500 (2.000-3.000) | 2.000-3.000 | 2 of 3 |" in text
    assert "`python this`" in text
    assert "commit abc, 2026-01-02, torch 2.9, a chip, 2 cores, threads: 1." in text
    assert "tomesd" not in text


def test_the_driver_measures_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = bench.Part("growth", "--axes images --points 2 --rounds 1", "")
    wrong = bench.Part("growth", "--points none", "")
    monkeypatch.setattr(bench, "PARTS", {"growth": small, "peak": wrong})
    assert bench.main(["--results", str(tmp_path), "--only", "growth"]) == 0
    rows = list(csv.DictReader((tmp_path / "growth.csv").read_text("utf-8").splitlines()))
    assert [row["value"] for row in rows] == ["1", "2"]
    assert set(timing.CONDITIONS) <= set(rows[0])
    assert {row["command"] for row in rows} == {f"python benchmarks/growth.py {small.short}"}
    assert "| images | 1: " in (tmp_path / "README.md").read_text("utf-8")
    assert bench.main(["--results", str(tmp_path), "--only", "peak"]) == 1


def test_quick_numbers_go_to_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, named = tmp_path / "committed", tmp_path / "named"
    written: list[Path] = []

    def measured(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        written.append(Path(words[words.index("--csv") + 1]).parent)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(bench, "COMMITTED", committed)
    monkeypatch.setattr(subprocess, "run", measured)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert bench.main(["--quick", "--only", "growth"]) == 0
    assert not committed.exists()
    assert bench.main(["--quick", "--only", "growth", "--results", str(named)]) == 0
    assert bench.main(["--only", "growth"]) == 0
    assert written[0].parent == tmp_path
    assert written[0].name.startswith("bigain-bench-")
    assert (written[0] / "README.md").is_file()
    assert written[1:] == [named, committed]
