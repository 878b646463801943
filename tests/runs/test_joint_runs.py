from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigain.config import RunConfig
from bigain.runs.archive import Archive
from bigain.runs.collect import collect
from bigain.runs.identity import resolved, run_id
from bigain.runs.joint_runs import JOINT_METRICS, finished_runs, published_runs
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]


def nobody(_columns: Mapping[str, Any], _sizes: Sequence[int]) -> None:
    """Recognises nothing."""


def clone(source: Path, target: Path) -> None:
    """What git has of `source`."""
    (table,) = collect(source)
    copied = target / table.relative_to(source)
    copied.parent.mkdir(parents=True)
    copied.write_bytes(table.read_bytes())


def test_a_published_run_is_the_run_that_was_published(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    config = make_config(operator=tome)
    make_run(tmp_path / "a", config)
    clone(tmp_path / "a", tmp_path / "b")
    seen: list[tuple[Any, Sequence[int]]] = []

    def recognise(columns: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any]:
        seen.append((columns["run_id"], sizes))
        return resolved(config)

    (run,), unknown = published_runs(tmp_path / "b", recognise)
    (original,) = finished_runs(tmp_path / "a")
    assert run == original
    assert set(run.metrics) <= set(JOINT_METRICS)
    assert (seen, unknown) == ([(run_id(config), [20])], [])
    assert finished_runs(tmp_path / "b") == []


def test_a_published_manifest_tells_the_settings(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    """So a run with settings that nobody would guess is shown too."""
    store = make_run(tmp_path / "a", make_config(operator={**tome, "random": False}))
    archive = Archive(tmp_path / "a", "mini")
    archive.publish([store.run_id])
    written = archive.published_manifest_path(store.run_id)
    clone(tmp_path / "a", tmp_path / "b")
    copied = tmp_path / "b" / written.relative_to(tmp_path / "a")
    copied.parent.mkdir()
    copied.write_bytes(written.read_bytes())
    (run,), unknown = published_runs(tmp_path / "b", nobody)
    (original,) = finished_runs(tmp_path / "a")
    assert unknown == []
    assert run.config["operator"] == original.config["operator"]
    assert (run.images, run.metrics) == (original.images, original.metrics)
    assert (run.settings, run.comparable) == (original.settings, original.comparable)


def test_what_nobody_recognises_is_named(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path / "a", make_config())
    clone(tmp_path / "a", tmp_path / "b")
    assert published_runs(tmp_path / "b", nobody) == ([], [store.run_id])


def test_a_run_with_a_folder_is_not_looked_up(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    make_run(tmp_path, make_config())
    collect(tmp_path)
    assert published_runs(tmp_path, nobody) == ([], [])
    assert len(finished_runs(tmp_path)) == 1
