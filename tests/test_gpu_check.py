"""The script of `make gpu-check` without a GPU: its parts with tiny models, what it refuses."""

import csv
import json
import math
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import gpu
import gpu_correct
import gpu_speed
import gpu_throughput
import pytest
import timing
import torch
from gpu_plan import FULL, TINY, Deadline, Plan

from bigain.config.architectures import ARCHITECTURES
from bigain.errors import UserError
from bigain.tasks.efficiency import Stopwatch

Measured = Callable[[str], list[dict[str, str]]]


def record(image: int, prediction: int, *errors: float) -> dict[str, Any]:
    return {"image_id": image, "prediction": prediction, "true_errors": list(errors)}


def test_without_a_gpu_it_says_so_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    results = tmp_path / "gpu"
    assert gpu.main(["--results", str(results)]) == 3
    assert capsys.readouterr().out.count("\n") == 1
    assert not results.exists()


@pytest.mark.parametrize("has_cuda", [False, True])
@pytest.mark.parametrize("device", ["foo", "cudafoo", "cuda:x", "meta", "cuda:7"])
def test_a_wrong_device_is_one_line(
    device: str,
    has_cuda: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(has_cuda))
    results = tmp_path / "gpu"
    is_card = device == "cuda:7" and not has_cuda
    assert gpu.main(["--device", device, "--results", str(results)]) == (3 if is_card else 2)
    said = capsys.readouterr()
    assert (said.out + said.err).count("\n") == 1
    assert is_card or device in said.err
    assert not results.exists()


def test_a_card_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert gpu._with_index(torch.device("cuda")) == torch.device("cuda", 1)
    assert gpu._with_index(torch.device("cuda", 0)) == torch.device("cuda", 0)
    assert gpu._with_index(torch.device("cpu")) == torch.device("cpu")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """A function that runs a part with tiny models in this process, and gives its rows.

    Its time never ends, so that a busy machine measures as many batches as an idle one.
    """
    monkeypatch.setattr(gpu, "Deadline", lambda _seconds: Deadline(math.inf))

    def measure(name: str) -> list[dict[str, str]]:
        (tmp_path / f"{name}.csv").write_text("rows of an older card\n", encoding="utf-8")
        told = ["--device", "cpu", "--tiny", "--here", name, "--results", str(tmp_path)]
        assert gpu.main(told) == 0
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text("utf-8").splitlines()))
        assert {*timing.CONDITIONS, "driver"} <= set(rows[0])
        return rows

    return measure


def test_the_mini_backbones_give_their_committed_records(measured: Measured) -> None:
    rows = measured("correct")
    assert {row["passed"] for row in rows} == {"yes", ""}
    kinds = [row["check"] for row in rows]
    assert kinds.count("committed records") == 4
    notes = {(row["check"], row["note"]) for row in rows}
    assert {("memory ran out", "batch 20 -> 10"), ("the same run twice", "equal bits")} <= notes
    lower = [row for row in rows if row["check"].startswith("dtype=")]
    assert len(lower) == 2 * 2 * len(TINY.operators)
    assert all(float(row["largest_difference"]) > 0 for row in lower)


def test_every_operator_of_the_tables_is_timed(measured: Measured) -> None:
    rows = measured("tables")
    cells = {(row["backbone"], row["attention"], row["operator"]) for row in rows}
    assert len(cells) == len(rows) == 2 * 10 + 2 * 8
    assert [row["backbone"] for row in rows[:4]] == 2 * ["mini_unet", "mini_dit"]
    for row in rows:
        ratio = float(row["baseline_ms_per_step"]) / float(row["ms_per_step"])
        assert float(row["speedup"]) == pytest.approx(ratio, abs=1e-3)


def test_the_throughput_is_measured_at_each_batch_size(measured: Measured) -> None:
    rows = measured("throughput")
    assert [row["batch_size"] for row in rows] == ["4", "4", "8", "8"]
    for row in rows:
        # Above 1 where the peak is a product of MKL and the layers' products are those of oneDNN.
        share = float(row["tflop_per_s"]) / float(row["peak_tflop_per_s"])
        assert float(row["share_of_peak"]) == pytest.approx(share, rel=0.05)
        assert share > 0
        assert int(row["batches"]) >= TINY.batches
        assert int(row["rows"]) == int(row["batches"]) * int(row["batch_size"])
        evaluations = 4 * 20
        rate = int(row["rows"]) / evaluations / float(row["seconds"])
        assert float(row["images_per_s"]) == pytest.approx(rate, rel=1e-2)


def test_batches_are_doubled_until_memory_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = {"mini_unet": 2048, "mini_dit": 16}

    def classified(
        backbone: gpu_throughput._Counting, _plan: Plan, size: int, _limit: Deadline
    ) -> dict[str, float] | None:
        kind = type(backbone.denoiser).__name__
        name = next(name for name in fits if ARCHITECTURES[name].model == kind)
        row = {"batches": 1, "rows": size, "seconds": 1.0, "rows_per_s": 1.0, "images_per_s": 1.0}
        return {**row, "peak_gb": 1.0} if size <= fits[name] else None

    monkeypatch.setattr(gpu_throughput, "_classified", classified)
    file = timing.RowFile(tmp_path / "rows.csv", {})
    plan = TINY._replace(smallest=FULL.smallest, largest=FULL.largest)
    assert gpu_throughput.throughput(plan, file, Deadline(100)) is True
    for name, last in fits.items():
        own = [row for row in file.rows if row["backbone"] == name]
        sizes = [row["batch_size"] for row in own]
        assert sizes == [2**n for n in range(2, 13) if 2**n <= 2 * last]
        assert [row["message"] for row in own] == ["" for _ in sizes[1:]] + [
            "does not fit the memory"
        ]


def test_the_profile_has_the_five_largest_costs(measured: Measured) -> None:
    rows = measured("profile")
    assert [row["rank"] for row in rows] == 4 * ["1", "2", "3", "4", "5"]
    shares = [float(row["share"]) for row in rows[:5]]
    assert shares == sorted(shares, reverse=True)
    assert 0.3 < sum(shares) <= 1


def test_the_parts_take_less_than_eight_minutes() -> None:
    assert sum(limit for _, limit in gpu.PARTS.values()) <= 480


def test_a_part_that_ends_early_fails_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {name: (measure, 0.1) for name, (measure, _) in gpu.PARTS.items()}
    monkeypatch.setattr(gpu, "PARTS", short)
    arguments = ["--device", "cpu", "--tiny", "--results", str(tmp_path), "--only"]
    assert gpu.main([*arguments, "profile", "tables"]) == 1
    assert capsys.readouterr().out.count("out of time") == 2
    about = json.loads((tmp_path / "device.json").read_text("utf-8"))
    assert about["packages"]["torch"] == about["torch"]
    assert set(about["allow_tf32"]) == {"cuda.matmul", "cudnn"}


def test_records_are_compared_by_image() -> None:
    reference = [record(1, 3, 0.1, 0.2), record(2, 4, 0.3, 0.4)]
    found = gpu_correct.compare([record(2, 4, 0.3, 0.45), record(1, 5, 0.1, 0.2)], reference)
    assert found[:2] == (2, 1)
    assert found.largest_difference == pytest.approx(0.05)
    assert not found.is_same
    assert gpu_correct.compare([record(1, 3, 0.1, 0.20009)], reference).is_same
    assert not gpu_correct.compare([record(1, 3, 0.1, 0.2002)], reference).is_same
    assert gpu_correct.compare([record(1, 3, 0.1, 0.200001)], reference).is_rounding
    assert not gpu_correct.compare([record(1, 3, 0.1, 0.20001)], reference).is_rounding
    assert not gpu_correct.compare([record(1, 5, 0.1, 0.2)], reference).is_rounding


def test_the_speedups_of_the_paper() -> None:
    """Table 18 prints ToMe's; SiTo's saves 27.3 % of the time in Table 11."""
    found = gpu_speed.paper_speedups()
    assert (found["tome"], found["lgtm"], found["ie_kvd"]) == (1.63, 1.65, 1.57)
    assert found["sito"] == 1.38
    assert set(gpu_speed.OPERATORS) - set(found) == {"toma"}


def test_an_error_is_a_row_and_costs_its_own_check_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(_plan: Plan, own: tuple[str, ...], *_: Any, **__: Any) -> gpu_correct.Found:
        if own[0] == "backbone=mini_dit":
            raise UserError("the network overflows")
        return gpu_correct.Found(gpu_correct.Comparison(1, 1, 0.0, 0.0), 0.1, passed=True)

    for name in ("_committed", "_twice", "_beside", "_memory"):
        monkeypatch.setattr(gpu_correct, name, overflow)
    file = timing.RowFile(tmp_path / "rows.csv", {})
    assert gpu_correct.correct(TINY, file, Deadline(100)) is False
    found = {(row["run"].split()[0], row["passed"], row["note"]) for row in file.rows}
    assert found == {
        ("backbone=mini_dit", "no", "UserError: the network overflows"),
        ("backbone=mini_unet", "yes", ""),
    }


def test_checks_without_time_are_rows_and_a_failure(tmp_path: Path) -> None:
    file = timing.RowFile(tmp_path / "rows.csv", {})
    assert gpu_correct.correct(TINY, file, Deadline(-1)) is False
    assert len(file.rows) == 18
    assert {row["passed"] for row in file.rows} == {"skipped"}


def test_an_operator_that_fails_costs_its_own_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def records(_self: Stopwatch, repeats: list[int]) -> list[dict[str, float]]:
        if next(calls) == 1:
            raise torch.OutOfMemoryError("too large")
        return [{"baseline_ms_per_step": 2.0, "ms_per_step": float(repeats[0])}]

    calls = count()
    monkeypatch.setattr(Stopwatch, "records", records)
    file = timing.RowFile(tmp_path / "rows.csv", {})
    assert gpu_speed.tables(TINY._replace(repeats=2), file, Deadline(100)) is False
    wrong = [row for row in file.rows if row["message"]]
    assert [row["message"] for row in wrong] == ["OutOfMemoryError: too large"]
    assert len(file.rows) == 2 * (2 * 10 + 2 * 8) - 1
    assert {row["speedup"] for row in file.rows if row not in wrong} == {1.0, 2.0}


@pytest.mark.parametrize("name", ["tables", "throughput", "profile"])
def test_nothing_begins_after_the_deadline(name: str, tmp_path: Path) -> None:
    measure, _ = gpu.PARTS[name]
    file = timing.RowFile(tmp_path / "rows.csv", {})
    assert measure(TINY, file, Deadline(-1)) is False
    assert not (tmp_path / "rows.csv").exists()
