import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bigain.config import RunConfig
from bigain.doctor.hardware import (
    Accelerator,
    Machine,
    cache_bytes,
    check_device,
    check_disk,
    probe,
    result_bytes,
)
from bigain.machine import Cores

Compose = Callable[..., RunConfig]
LARGE = Accelerator("cuda:0", "Big GPU", 40.0, has_bfloat16=True)
OLD = Accelerator("cuda:1", "Old GPU", 2.0, has_bfloat16=False)
WITHOUT = Machine("Some CPU", 8, 16.0)
WITH = Machine("Some CPU", 8, 16.0, (LARGE, OLD))
PAPER = ["profile=paper", "backbone=sd20", "dataset=pets"]


def test_this_machine_has_a_processor() -> None:
    machine = probe()
    assert machine.cores >= 1
    assert machine.processor


def test_the_processor_is_described(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of threads that a run would take, and why."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    monkeypatch.setattr("bigain.devices.usable_cores", lambda: Cores(8, 4, 2.5))
    (found,) = check_device(compose(), WITHOUT)
    assert (found.subject, found.status, found.advice) == ("device=cpu", "ready", ())
    threads = "threads of torch: 1 (a mini network is not faster with more)"
    assert found.what == f"Some CPU, 8 cores, 16 GB; {threads}; dtype=float32"
    (found,) = check_device(compose(*PAPER, "device=cpu", "dtype=float32"), WITHOUT)
    assert "threads of torch: 2 (the cgroup has 2.5 of 8 cores)" in found.what
    (found,) = check_device(compose("threads=2"), Machine("Some CPU", 8, None))
    expected = "Some CPU, 8 cores; threads of torch: 2 (threads=2); dtype=float32"
    assert found.what == expected


@pytest.mark.parametrize(
    ("device", "title"),
    [("auto", "Big GPU"), ("cuda", "Big GPU"), ("cuda:0", "Big GPU"), ("cuda:1", "Old GPU")],
)
def test_an_accelerator_is_described(device: str, title: str, compose: Compose) -> None:
    found = check_device(compose(f"device={device}", "dtype=float16"), WITH)[0]
    assert found.status == "ready"
    assert title in found.what


@pytest.mark.parametrize("device", ["cuda", "cuda:2", "mps"])
def test_a_device_that_is_not_there_is_missing(device: str, compose: Compose) -> None:
    (found,) = check_device(compose(f"device={device}"), WITHOUT)
    assert (found.status, found.advice) == ("missing", ("device=auto", "device=cpu"))
    assert found.what == "there is no such device here; accelerators: none"


def test_the_devices_that_are_there_are_named(compose: Compose) -> None:
    (found,) = check_device(compose("device=mps"), WITH)
    assert found.what.endswith("accelerators: cuda:0, cuda:1")


@pytest.mark.parametrize(
    ("overrides", "machine", "advice"),
    [
        (["device=cpu"], WITH, "Big GPU is here too: device=auto"),
        ([*PAPER], WITHOUT, "an image of a published model takes many minutes on a CPU"),
        ([*PAPER], WITHOUT, "half precision is slow on a CPU: dtype=float32"),
        ([*PAPER, "dtype=float32"], WITH, "half precision is faster here"),
        (["device=cuda:1", "dtype=bfloat16"], WITH, "Old GPU computes bfloat16 slowly"),
    ],
)
def test_what_would_be_better_is_told_and_does_not_stop(
    overrides: list[str], machine: Machine, advice: str, compose: Compose
) -> None:
    found = check_device(compose(*overrides), machine)[0]
    assert any(advice in each for each in found.advice), found
    assert not found.stops


def test_a_good_choice_gets_no_advice(compose: Compose) -> None:
    (found,) = check_device(compose(*PAPER), WITH)
    assert found.advice == ()


def test_weights_larger_than_the_memory_are_a_problem(compose: Compose) -> None:
    _, memory = check_device(compose(*PAPER, "device=cuda:1"), WITH)
    assert (memory.subject, memory.status) == ("memory", "problem")
    assert memory.what == "2.0 GB, but the weights of sd20 alone take 3.4 GB"
    assert memory.advice == ("a device with more memory",)
    _, memory = check_device(compose(*PAPER, "device=cuda:1", "dtype=float32"), WITH)
    assert memory.advice == ("dtype=float16", "a device with more memory")


def test_a_device_that_shares_the_machines_memory_is_measured_by_it(compose: Compose) -> None:
    apple = Accelerator("mps", "Apple Metal", None, has_bfloat16=True)
    small = Machine("Some CPU", 8, 3.0, (apple,))
    assert len(check_device(compose(*PAPER), small)) == 2
    assert len(check_device(compose(*PAPER), Machine("Some CPU", 8, 8.0, (apple,)))) == 1


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Say how many bytes are free on every disk."""

    def make(count: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=count))

    return make


def test_results_grow_with_images_and_classes(compose: Compose) -> None:
    few, many = (result_bytes(compose(f"dataset.limit={n}")) for n in (10, 20))
    assert many == 2 * few
    assert result_bytes(compose(*PAPER)) / 3669 > few / 10
    assert result_bytes(compose("task=efficiency")) < few


def test_caches_hold_the_latents_and_the_prompts(compose: Compose) -> None:
    latents, prompts = 3669 * 4 * 64 * 64 * 4, 37 * 77 * 1024 * 4
    assert cache_bytes(compose(*PAPER)) == latents + prompts
    assert cache_bytes(compose(*PAPER, "cache.latents=false")) == prompts
    assert cache_bytes(compose(*PAPER, "cache.prompts=false")) == latents
    assert cache_bytes(compose(*PAPER, "cache.gigabytes=0.001")) == 2 * 0.001 * 1e9
    dit = ["profile=paper", "backbone=dit_xl2_512", "dataset=imagenet100"]
    assert cache_bytes(compose(*dit)) == 5000 * 4 * 64 * 64 * 4


def test_generated_images_are_kept_and_no_image_is_encoded(compose: Compose) -> None:
    run = compose(*PAPER, "task=generation")
    assert result_bytes(run) == 3669 * (1000 + 2 * 512 * 512)
    assert cache_bytes(run) == 37 * 77 * 1024 * 4
    assert result_bytes(compose("task=generation", "dataset.limit=10")) == 10 * (1000 + 2 * 28**2)


def test_a_mini_run_has_no_cache(compose: Compose, tmp_path: Path) -> None:
    assert cache_bytes(compose()) == 0
    (found,) = check_disk([compose(f"paths.results={tmp_path}")])
    assert (found.subject, found.status) == ("results", "ready")


def test_the_folders_need_not_exist_and_are_not_made(compose: Compose, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    found = check_disk([compose(*PAPER, f"paths.results={folder}")], 5e9)
    assert [each.subject for each in found] == ["results", "cache", "hub's cache"]
    assert str(folder) in found[0].what
    assert found[2].what.endswith("needs about 5.0 GB")
    assert not folder.exists()


def test_runs_of_one_backbone_and_dataset_share_their_cache(
    compose: Compose, tmp_path: Path
) -> None:
    where = f"paths.results={tmp_path}"
    one = compose(*PAPER, where)
    other = compose(*PAPER, where, "operator=lgtm", "operator.ratio=0.7")
    alone, both = check_disk([one]), check_disk([one, other])
    assert both[1] == alone[1]
    assert both[0].what != alone[0].what


def test_what_the_cache_holds_is_not_needed_again(compose: Compose, tmp_path: Path) -> None:
    run = compose(*PAPER, f"paths.results={tmp_path}", f"paths.cache={tmp_path / 'cache'}")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "entry").write_bytes(bytes(10_000_000))
    cache = check_disk([run])[1]
    assert "holds 10.0 MB, at most 20 GB" in cache.what
    assert f"needs about {(cache_bytes(run) - 1e7) / 1e6:,.1f} MB" in cache.what


def test_a_full_disk_is_a_problem_that_says_how_much_is_lacking(
    compose: Compose, tmp_path: Path, free: Callable[[float], None]
) -> None:
    run = compose(*PAPER, f"paths.results={tmp_path}")
    free(1e9)
    found = check_disk([run], 5e9)
    assert {each.status for each in found} == {"problem"}, "all are on one disk, and do not fit"
    assert found[0].advice[0].startswith("free 4.3 GB")
    assert found[0].advice[1] == "another disk: paths.results=DIR or BIGAIN_RESULTS"
    assert found[2].advice[1] == "another disk: HF_HOME"
    free(100e9)
    assert {each.status for each in check_disk([run], 5e9)} == {"ready"}


def test_a_file_in_place_of_the_folder_is_a_problem(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = check_disk([compose(f"paths.results={tmp_path / 'file'}")])
    assert found.status == "problem"
    assert "cannot be written to" in found.what
