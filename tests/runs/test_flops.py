"""FLOPs that were counted before are found from a configuration, published or not."""

from pathlib import Path

from bigain.runs.archive import Archive
from bigain.runs.flops import keep_flops, known_flops

UNKNOWN = {"backbone": {"name": "other", "sites": None}, "operator": {"name": "tome", "ratio": 0.4}}


def test_published_runs_have_the_flops_that_their_efficiency_runs_counted() -> None:
    archive = Archive(Path("results"), "mini")
    counted = {}
    for name in archive.run_ids():
        manifest = archive.manifest(name)
        assert manifest is not None
        known = known_flops(manifest["config"])
        assert known, name
        metric = archive.metrics(name).get("flops_g")
        if metric is not None:
            counted[name] = (known / 1e9, metric.value)
    assert len(counted) >= 57
    assert all(known == value for known, value in counted.values())


def test_what_was_never_counted_is_not_known(tmp_path: Path) -> None:
    assert known_flops(UNKNOWN) is None
    assert known_flops(UNKNOWN, tmp_path / "none") is None


def test_a_count_is_kept_for_its_operator_alone(tmp_path: Path) -> None:
    keep_flops(UNKNOWN, tmp_path / "cache", 7)
    assert known_flops(UNKNOWN, tmp_path / "cache") == 7
    other = {**UNKNOWN, "operator": {"name": "tome", "ratio": 0.5}}
    assert known_flops(other, tmp_path / "cache") is None
    assert known_flops({**UNKNOWN, "seed": 1}, tmp_path / "cache") == 7
