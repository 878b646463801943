import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bigain.backbones.cache import TensorCache


class Compute:
    """Something dear: counts how often it is done."""

    def __init__(self, *shape: int) -> None:
        self.calls = 0
        self._shape = shape or (3,)

    def __call__(self) -> Mapping[str, Tensor]:
        self.calls += 1
        return {"x": torch.full(self._shape, float(self.calls))}


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_what_was_computed_once_is_found_by_every_cache_of_the_folder(tmp_path: Path) -> None:
    compute = Compute()
    first, second = TensorCache(tmp_path, 1), TensorCache(tmp_path, 1)
    one = first.get({"image": "a", "side": 2}, compute)
    assert torch.equal(one["x"], first.get({"side": 2, "image": "a"}, compute)["x"])
    assert torch.equal(one["x"], second.get({"image": "a", "side": 2}, compute)["x"])
    assert compute.calls == 1
    assert (first.hits, first.misses, second.hits, second.misses) == (1, 1, 1, 0)


def test_whatever_it_is_made_from_gives_another_entry(tmp_path: Path) -> None:
    cache, compute = TensorCache(tmp_path, 1), Compute()
    for made_from in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": None}, {"a": [1]}):
        cache.get(made_from, compute)
    assert compute.calls == 5
    assert len(entries(tmp_path)) == 5


def test_without_a_folder_everything_is_computed(tmp_path: Path) -> None:
    cache, compute = TensorCache(None, 1), Compute()
    assert [float(cache.get({}, compute)["x"][0]) for _ in range(3)] == [1, 2, 3]
    assert list(tmp_path.iterdir()) == []


def test_values_and_types_survive(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(2, 3).half(), "b": torch.arange(6).reshape(2, 3).T}
    for _ in range(2):
        found = TensorCache(tmp_path, 1).get({}, lambda: tensors)
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
        assert found["a"].dtype == torch.float16


@pytest.mark.parametrize("damage", [b"", b"x" * 3, b"x" * 4000, None])
def test_a_damaged_entry_is_computed_again_and_said_so(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    compute = Compute(100)
    TensorCache(tmp_path, 1).get({}, compute)
    path = entries(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-8] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert float(TensorCache(tmp_path, 1).get({}, compute)["x"][0]) == 2
    assert "is damaged and is computed again" in caplog.text
    assert float(TensorCache(tmp_path, 1).get({}, compute)["x"][0]) == 2
    assert compute.calls == 2


def test_the_longest_unused_go_first_and_the_newest_stays(tmp_path: Path) -> None:
    """Entries of about 4 kB in a cache of 14 kB: three fit, the fourth drives out the oldest."""
    cache, compute = TensorCache(tmp_path, 14e-6), Compute(1000)
    for index in range(3):
        cache.get({"index": index}, compute)
        newest = max(entries(tmp_path), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1000 + index, 1000 + index))
    cache.get({"index": 0}, compute)  # used again: now the youngest
    cache.get({"index": 3}, compute)
    assert compute.calls == 4
    assert len(entries(tmp_path)) == 3
    assert [cache.get({"index": i}, compute)["x"][0].item() for i in (0, 3, 2)] == [1, 4, 3]
    assert compute.calls == 4
    cache.get({"index": 1}, compute)
    assert compute.calls == 5


def test_an_entry_larger_than_the_bound_is_kept_alone(tmp_path: Path) -> None:
    cache, compute = TensorCache(tmp_path, 1e-6), Compute(1000)
    for index in (0, 1):
        cache.get({"index": index}, compute)
    assert len(entries(tmp_path)) == 1
    cache.get({"index": 1}, compute)
    assert compute.calls == 2


def test_the_bound_counts_what_earlier_processes_left(tmp_path: Path) -> None:
    for index in range(3):
        TensorCache(tmp_path, 1).get({"index": index}, Compute(1000))
    TensorCache(tmp_path, 9.5e-6).get({"index": 3}, Compute(1000))
    assert len(entries(tmp_path)) == 2


def test_a_folder_that_cannot_be_written_costs_time_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    cache, compute = TensorCache(tmp_path / "file", 1), Compute()
    with caplog.at_level(logging.WARNING):
        assert [float(cache.get({}, compute)["x"][0]) for _ in range(2)] == [1, 2]
    assert caplog.text.count("not kept") == 1


def test_nothing_half_written_is_left_behind(tmp_path: Path) -> None:
    TensorCache(tmp_path, 1).get({}, Compute())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == entries(tmp_path)
