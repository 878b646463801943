import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.identity import run_id
from bigain.runs.manifests import (
    check_name,
    find_manifest,
    manifest_path,
    portable,
    publish_manifest,
)
from bigain.runs.publish import publish_run
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]

SOURCE = {"place": "path", "folder": "/" + "home/me/sd20", "fingerprint": "0123"}
MANIFEST: dict[str, Any] = {
    "run_id": "0123456789abcdef",
    "status": "done",
    "config": {
        "profile": "paper",
        "paths": {"results": "/" + "home/me/results"},
        "backbone": {"name": "sd20", "path": "../weights", "mirrors": ["mirror"], "revision": "r"},
        "dataset": {"name": "pets", "root": "data", "limit": None},
        "task": {"name": "generation", "extractor_weights": "weights.pt", "steps": 25},
    },
    "source": SOURCE,
    "platform": "Linux-6.8.0-45-me-laptop-x86_64-with-glibc2.39",
    "python": "3.11.7",
    "hostname": "me-laptop",
    "hashes": {"a": "0" * 64},
    "attention_backend": "AttnProcessor2_0; sdpa: flash, mem_efficient, math",
}


def test_what_says_where_it_was_is_left_out() -> None:
    kept = portable(MANIFEST)
    text = json.dumps(kept)
    for word in ("home", "me-laptop", "weights", "mirror", '"data"', "paths"):
        assert word not in text
    assert kept["config"]["backbone"] == {"name": "sd20", "path": None, "revision": "r"}
    assert kept["config"]["task"] == {"name": "generation", "steps": 25}
    assert kept["source"] == {"place": "path", "fingerprint": "0123"}
    assert kept["platform"] == "Linux-6.8.0-x86_64-with-glibc2.39"
    for key in ("python", "hashes", "attention_backend", "run_id"):
        assert kept[key] == MANIFEST[key]


@pytest.mark.parametrize(
    "text",
    [
        *("/" + "scratch/x", "~/weights", "../x", "./x", "C:\\x", "D:/x", "\\\\host\\x"),
        *("https://host/x", "file://x", "read from /" + "data/x now", "root=~/x", "at '/" + "x'"),
    ],
)
def test_a_text_with_a_place_in_it_becomes_nothing(text: str) -> None:
    kept = portable({"config": {"operator": {"new": text, "list": [text, "lgtm"]}}})
    assert kept == {"config": {"operator": {"new": None, "list": [None, "lgtm"]}}}


@pytest.mark.parametrize(
    "text", ["owner/name", "AMD EPYC", "a: b", "Intel(R) Core(TM) i7 / 4 GHz", "macOS-15.1-arm64"]
)
def test_other_texts_stay(text: str) -> None:
    assert portable({"cpu_model": text, "platform": text}) == {"cpu_model": text, "platform": text}


def test_the_published_manifest_goes_before_the_one_in_the_folder(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    found = find_manifest(tmp_path, "mini", store.run_id)
    assert found is not None
    assert found == (store.folder / "manifest.json", store.manifest())
    path = publish_manifest(tmp_path, "mini", store.run_id)
    assert path == manifest_path(tmp_path, "mini", store.run_id)
    assert find_manifest(tmp_path, "mini", store.run_id) == (path, portable(store.manifest()))
    assert str(tmp_path) not in path.read_text()


def test_a_published_manifest_that_would_not_change_is_left_alone(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    path = publish_manifest(tmp_path, "mini", store.run_id)
    assert path is not None
    before = path.stat().st_ino
    publish_manifest(tmp_path, "mini", store.run_id)
    assert path.stat().st_ino == before
    path.write_text("{}")
    publish_manifest(tmp_path, "mini", store.run_id)
    assert json.loads(path.read_text())["run_id"] == store.run_id


def test_publishing_a_run_publishes_its_manifest(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    publish_run(tmp_path, store.run_id)
    assert manifest_path(tmp_path, "mini", store.run_id).is_file()


def test_unfinished_and_unknown_runs_have_none(tmp_path: Path, make_config: Make) -> None:
    config = make_config()
    with RunStore(tmp_path, run_id(config)).open(config, [1, 2], {}):
        pass
    assert publish_manifest(tmp_path, "mini", run_id(config)) is None
    assert publish_manifest(tmp_path, "mini", "0" * 16) is None
    assert find_manifest(tmp_path, "mini", "0" * 16) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"run_id": "other"}', '{"run_id": "0000000000000000"}']
)
def test_a_damaged_published_manifest_is_named(tmp_path: Path, text: str) -> None:
    path = manifest_path(tmp_path, "mini", "0" * 16)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=r"manifests/0{16}\.json: is damaged; delete it"):
        find_manifest(tmp_path, "mini", "0" * 16)


def test_the_configuration_of_another_run_is_refused(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    """A name is a hash of the configuration: a copy under another name claims the same cell."""
    store = make_run(tmp_path, make_config())
    path = publish_manifest(tmp_path, "mini", store.run_id)
    assert path is not None
    false = manifest_path(tmp_path, "mini", "0" * 16)
    false.write_text(path.read_text().replace(store.run_id, "0" * 16))
    with pytest.raises(UserError, match=rf"0{{16}}\.json: .* run {store.run_id}: two runs claim"):
        find_manifest(tmp_path, "mini", "0" * 16)
    false.unlink()
    other = tmp_path / "runs" / ("0" * 16)
    shutil.copytree(store.folder, other)
    text = (other / "manifest.json").read_text().replace(store.run_id, "0" * 16)
    (other / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=rf"manifest\.json: .* run {store.run_id}: two runs claim"):
        find_manifest(tmp_path, "mini", "0" * 16)


def test_places_that_are_part_of_a_name_are_withheld_and_named(
    tmp_path: Path, make_config: Make
) -> None:
    """Weights in a folder without a fingerprint: whoever reads on cannot tell the name."""
    plain = make_config().model_dump(mode="json")
    plain["backbone"] = {**plain["backbone"], "path": "/" + "home/me/sd20"}
    name = run_id(plain)
    kept = portable({"run_id": name, "config": plain})
    assert kept["withheld"] == ["backbone.path"]
    check_name(tmp_path, kept)
    with pytest.raises(UserError, match=rf", not of {name}; put back the file"):
        check_name(tmp_path, {key: value for key, value in kept.items() if key != "withheld"})


def test_a_hub_backbone_keeps_its_name(tmp_path: Path, make_config: Make) -> None:
    """It has no folder, which is part of the name too."""
    plain = make_config().model_dump(mode="json")
    plain["backbone"] = {**plain["backbone"], "path": None, "mirrors": ["x"], "fingerprint": None}
    kept = portable({"run_id": run_id(plain), "config": plain})
    assert "withheld" not in kept
    check_name(tmp_path, kept)


def test_what_readers_rely_on_must_be_there(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    store = make_run(tmp_path, make_config())
    path = publish_manifest(tmp_path, "mini", store.run_id)
    assert path is not None
    whole = json.loads(path.read_text())
    for key in ("config", "n_images", "columns"):
        path.write_text(json.dumps({name: each for name, each in whole.items() if name != key}))
        with pytest.raises(UserError, match=r"\.json: is damaged"):
            find_manifest(tmp_path, "mini", store.run_id)
    for config in (None, "x"):
        path.write_text(json.dumps({**whole, "config": config, "withheld": ["x"]}))
        with pytest.raises(UserError, match=r"\.json: is damaged"):
            find_manifest(tmp_path, "mini", store.run_id)
