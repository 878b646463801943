"""The arithmetic of the benchmarks: time by part, and the rate of several workers."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_time_belongs_to_the_innermost_part(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = load("harness")
    moments: Iterator[tuple[float, float]] = iter([(0, 0), (1, 2), (3, 8), (4, 16), (9, 32)])
    monkeypatch.setattr(harness.Clock, "_now", lambda _self: next(moments))
    clock = harness.Clock()
    with clock.part("run"):
        assert clock.timed("denoiser", abs)(-3) == 3
    assert clock.costs() == {"run": (2000 + 5000, 6000 + 16000), "denoiser": (1000, 8000)}


def test_the_rate_of_workers_is_the_sum_while_all_are_at_work() -> None:
    rate = load("workers").rate
    steady = [float(second) for second in range(11)]
    assert rate([steady]) == pytest.approx(1.0)
    half = [2.5, 4.5, 6.5, 8.5]
    assert rate([steady, half]) == pytest.approx(1.0 + 0.5)
    faster_alone = [*steady, *(10 + n / 10 for n in range(1, 11))]
    assert rate([faster_alone, steady]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="not at work at the same time"):
        rate([[0.0, 1.0], [5.0, 6.0]])
