"""A calibration that is killed goes on where it was, and ends with the same bytes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bigain.engine import calibrate_masks, calibrate_stages
from bigain.engine.calibrate_operator import calibrate_operator
from bigain.engine.kept_measurements import as_json, as_tensors
from bigain.errors import UserError
from bigain.launch.compose import compose_config

ROOT = Path(__file__).parents[2]
IMAGES = 3

KILLED = """
import os, signal, sys
from bigain import files
from bigain.engine import kept_measurements
from bigain.cli.calibrate import main

whole, written = files.replace_file, []

def replace_file(path, write):
    def killed(temporary):
        write(temporary)
        written.append(path)
        if len(written) == 2:  # the file is full, and has no name yet
            os.kill(os.getpid(), signal.SIGKILL)
    whole(path, killed)

files.replace_file = kept_measurements.replace_file = replace_file
main(sys.argv[1:])
"""
"""`bigain calibrate` that dies while it writes its second measurement."""


def command(folder: Path, operator: str, *more: str) -> list[str]:
    return [
        *(f"operator={operator}", f"operator.images={IMAGES}", "backbone=mini_dit"),
        *("task.trial_list=[1,2]", "task.keep_list=[3,1]", "batch_size=2", "threads=1"),
        *(f"paths.results={folder / 'results'}", f"paths.cache={folder / 'cache'}", *more),
    ]


@pytest.mark.parametrize(
    ("operator", "module", "measuring", "pieces"),
    [
        ("dip_go", calibrate_masks, "image_sensitivity", IMAGES),
        ("mosaic_diff", calibrate_stages, "curvatures", 3),
    ],
)
def test_a_killed_calibration_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operator: str,
    module: object,
    measuring: str,
    pieces: int,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *command(tmp_path / "killed", operator)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed" / "results").exists()
    (kept,) = [
        path
        for path in (tmp_path / "killed" / "cache" / "calibrations").rglob("*")
        if path.is_file() and not path.name.endswith(".tmp")
    ]
    written = kept.stat().st_mtime_ns

    calls: list[object] = []
    measure = getattr(module, measuring)

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr(module, measuring, counted)
    resumed = calibrate_operator(compose_config(command(tmp_path / "killed", operator)))
    assert len(calls) == pieces - 1
    assert kept.stat().st_mtime_ns == written
    whole = calibrate_operator(compose_config(command(tmp_path / "whole", operator)))
    assert len(calls) == 2 * pieces - 1
    assert resumed.path.name == whole.path.name
    assert resumed.path.read_bytes() == whole.path.read_bytes()


def test_another_target_of_the_weights_measures_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = calibrate_operator(compose_config(command(tmp_path, "mosaic_diff")))
    monkeypatch.setattr(calibrate_stages, "curvatures", None)
    more = ["operator.target=0.3", "operator.allocation=uniform"]
    second = calibrate_operator(compose_config(command(tmp_path, "mosaic_diff", *more)))
    assert (first.computed, second.computed) == (IMAGES, 0)
    assert first.path.read_bytes() != second.path.read_bytes()
    # Other images are other measurements.
    with pytest.raises(TypeError):
        calibrate_operator(
            compose_config(command(tmp_path, "mosaic_diff", "operator.images=2", "force=true"))
        )


@pytest.mark.parametrize("allocation", ["score", "uniform"])
def test_an_impossible_target_of_the_weights_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allocation: str
) -> None:
    monkeypatch.setattr(calibrate_stages, "curvatures", None)
    more = ["operator.target=0.99", f"operator.allocation={allocation}"]
    with pytest.raises(UserError, match=r"^operator\.target=0\.99: allowed: .* from 0 to 0\.\d+,"):
        calibrate_operator(compose_config(command(tmp_path, "mosaic_diff", *more)))
    assert not (tmp_path / "cache" / "calibrations").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2"])
def test_a_damaged_measurement_is_one_line_with_its_file(tmp_path: Path, damage: bytes) -> None:
    plain, tensors = as_json(tmp_path, dict, dict), as_tensors(tmp_path)
    for kept, suffix in ((plain, "json"), (tensors, "safetensors")):
        file = tmp_path / f"3.{suffix}"
        file.write_bytes(damage)
        with pytest.raises(UserError, match=r"^paths\.cache: .* is damaged") as caught:
            kept[3]
        assert str(file) in str(caught.value)


def test_only_what_is_missing_is_measured_and_all_of_it_comes_from_the_files(
    tmp_path: Path,
) -> None:
    asked: list[tuple[int, ...]] = []

    def measure(left: Sequence[int]) -> Iterator[tuple[int, float]]:
        asked.append(tuple(left))
        for piece in left:
            if piece == 7:
                raise KeyboardInterrupt
            yield piece, piece / 3

    kept = as_json(tmp_path / "one", lambda value: [value], lambda plain: plain[0])
    with pytest.raises(KeyboardInterrupt):
        kept.complete([5, 6, 7, 8], measure, "title")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["5.json", "6.json"]
    assert kept.complete([4, 5, 6], measure, "title") == 1
    assert asked == [(5, 6, 7, 8), (4,)]
    assert [kept[piece] for piece in (4, 5, 6)] == [4 / 3, 5 / 3, 2.0]


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    value = {"a.b": torch.randn(3, 4, generator=generator).T, "c": torch.zeros(())}

    def measure(left: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        yield from ((piece, value) for piece in left)

    kept = as_tensors(tmp_path)
    assert kept.complete(["0-200"], measure, "title", "stage") == 1
    found = kept["0-200"]
    assert found.keys() == value.keys()
    assert all(torch.equal(found[name], value[name]) for name in value)
