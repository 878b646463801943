import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bigain.backbones import sources
from bigain.backbones.sources import Source, file_hashes, find_source, fingerprint
from bigain.backbones.weight_files import components_of, list_files
from bigain.config import HubBackboneConfig
from bigain.errors import UserError

MakeConfig = Callable[..., HubBackboneConfig]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = {"path": None, "repository": "own/model", "mirrors": ["mirror/one", "mirror/two"]}


class ForeignError(Exception):
    """As an HTTP library has that shares no base class with any other."""


class Hub:
    """The hub's cache in a folder of the test, and a hub behind it that has what it is given.

    It stands where `bigain.backbones.sources` calls huggingface_hub over the network; what reads
    the cache is huggingface_hub itself.
    """

    def __init__(self, cache: Path, pipelines: dict[str, Path]) -> None:
        self.cache, self._pipelines = cache, pipelines
        self.online: dict[str, Path | Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.patterns: list[str] = []

    def put(self, repository: str, name: str = "sd20", revision: str = "main") -> Path:
        """Put a tiny pipeline into the cache as a download would."""
        place = self.cache / f"models--{repository.replace('/', '--')}"
        folder = place / "snapshots" / COMMIT
        shutil.copytree(self._pipelines[name], folder)
        (place / "refs").mkdir()
        (place / "refs" / revision).write_text(COMMIT)
        return folder

    def model_info(self, repository: str, revision: str, timeout: float) -> SimpleNamespace:
        assert timeout < 60
        self.asked.append((repository, revision))
        found = self.online.get(repository)
        if found is None:
            raise self.error(RepositoryNotFoundError)
        if isinstance(found, Exception):
            raise found
        siblings = [SimpleNamespace(rfilename=name) for name in sorted(list_files(found))]
        return SimpleNamespace(siblings=siblings)

    def download(self, repository: str, revision: str, **options: Any) -> str:
        if options.get("local_files_only"):
            return str(self._original(repository, revision=revision, local_files_only=True))
        self.patterns = options["allow_patterns"]
        found = self.online[repository]
        assert isinstance(found, Path)
        return str(found)

    @staticmethod
    def error(kind: Any) -> Exception:
        error: Exception = kind.__new__(kind)
        return error

    _original = staticmethod(snapshot_download)


@pytest.fixture
def hub(tmp_path: Path, pipelines: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub", pipelines)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made.cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources, "HfApi", lambda: made)
    monkeypatch.setattr(sources, "snapshot_download", made.download)
    return made


@pytest.fixture
def offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return hub


def told(config: HubBackboneConfig) -> str:
    with pytest.raises(UserError) as caught:
        find_source(config)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_folder_of_the_user_comes_first(hub: Hub, hub_config: MakeConfig) -> None:
    hub.put("own/model")
    config = hub_config("sd20", repository="own/model")
    assert find_source(config) == Source(Path(str(config.path)), "path")
    assert hub.asked == []
    assert find_source(config).describe() == {
        "place": "path",
        "repository": None,
        "revision": None,
        "commit": None,
        "folder": str(config.path),
    }


def test_the_cached_repository_needs_no_network(hub: Hub, hub_config: MakeConfig) -> None:
    folder = hub.put("own/model")
    hub.put("mirror/one")
    source = find_source(hub_config("sd20", **SETTINGS))
    assert source == Source(folder, "cache", "own/model", "main", COMMIT)
    assert source.describe()["folder"] is None
    assert hub.asked == []


@pytest.mark.parametrize("mirror", ["mirror/one", "mirror/two"])
def test_a_cached_mirror_serves_when_the_repository_is_not_cached(
    hub: Hub, hub_config: MakeConfig, mirror: str
) -> None:
    folder = hub.put(mirror)
    assert find_source(hub_config("sd20", **SETTINGS)) == Source(
        folder, "cache", mirror, "main", COMMIT
    )


def test_a_commit_is_a_revision_too(offline: Hub, hub_config: MakeConfig) -> None:
    folder = offline.put("own/model")
    source = find_source(hub_config("sd20", **SETTINGS, revision=COMMIT))
    assert source == Source(folder, "cache", "own/model", COMMIT, COMMIT)


def test_a_mirror_may_have_a_revision_of_its_own(offline: Hub, hub_config: MakeConfig) -> None:
    folder = offline.put("mirror/one", revision="copy")
    settings = {**SETTINGS, "mirrors": ["mirror/one@copy"]}
    assert find_source(hub_config("sd20", **settings)) == Source(
        folder, "cache", "mirror/one", "copy", COMMIT
    )


def test_a_download_takes_what_is_read_and_from_the_repository_first(
    hub: Hub, hub_config: MakeConfig, pipelines: dict[str, Path]
) -> None:
    hub.online = {"own/model": pipelines["sd20"], "mirror/one": pipelines["sd20"]}
    source = find_source(hub_config("sd20", **SETTINGS))
    assert (source.place, source.repository) == ("hub", "own/model")
    assert set(hub.patterns) == list_files(pipelines["sd20"])
    assert hub.asked == [("own/model", "main")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RepositoryNotFoundError, "no such repository, or it is private"),
        (RevisionNotFoundError, "has no such revision"),
        (GatedRepoError, "its licence must be accepted"),
        (LocalEntryNotFoundError, "cannot be downloaded (LocalEntryNotFoundError"),
        (ConnectionError, "cannot be downloaded (ConnectionError"),
        (ForeignError, "cannot be downloaded (ForeignError"),
    ],
)
def test_mirrors_are_downloaded_in_order_when_the_repository_fails(
    hub: Hub, hub_config: MakeConfig, pipelines: dict[str, Path], error: Any, reason: str
) -> None:
    hub.online = {"own/model": Hub.error(error), "mirror/two": pipelines["sd20"]}
    source = find_source(hub_config("sd20", **SETTINGS))
    assert (source.place, source.repository) == ("hub", "mirror/two")
    assert [repository for repository, _ in hub.asked] == ["own/model", "mirror/one", "mirror/two"]
    del hub.online["mirror/two"]
    line = told(hub_config("sd20", **SETTINGS))
    assert f"own/model at main: {reason}" in line
    assert "mirror/two at main: no such repository" in line


def test_without_any_source_both_ways_out_are_named(offline: Hub, hub_config: MakeConfig) -> None:
    line = told(hub_config("sd20", **SETTINGS))
    assert line.startswith("backbone=sd20: no weights found (own/model at main: not in the hub's")
    assert "mirror/one at main: not in" in line
    assert "backbone.path=FOLDER" in line
    assert "hf download own/model --revision main" in line
    assert "HF_HUB_OFFLINE" in line
    assert line.endswith("`bigain doctor backbone=sd20` checks what is there")
    assert offline.asked == []


def test_the_hub_is_not_asked_when_nothing_may_be_downloaded(
    hub: Hub, hub_config: MakeConfig, pipelines: dict[str, Path]
) -> None:
    hub.online = {"own/model": pipelines["sd20"]}
    with pytest.raises(UserError, match="own/model at main: not in the hub's cache"):
        find_source(hub_config("sd20", **SETTINGS), download=False)
    assert hub.asked == []
    folder = hub.put("mirror/one")
    assert find_source(hub_config("sd20", **SETTINGS), download=False).folder == folder


def test_a_wrong_revision_names_those_there_are(offline: Hub, hub_config: MakeConfig) -> None:
    offline.put("own/model")
    line = told(hub_config("sd20", **SETTINGS, revision="v9"))
    assert "own/model at v9: the cache has no such revision of it, but main" in line


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component_is_named(
    offline: Hub, hub_config: MakeConfig, tmp_path: Path, pipelines: dict[str, Path], part: str
) -> None:
    folder = tmp_path / "own"
    shutil.copytree(pipelines["sd20"], folder)
    shutil.rmtree(folder / part)
    line = told(hub_config("sd20", path=folder))
    assert line.startswith(f"backbone.path={folder}: has no folder {part}/; allowed: a folder in")
    shutil.rmtree(offline.put("own/model") / part)
    assert f"its copy in the hub's cache has no folder {part}/" in told(
        hub_config("sd20", **SETTINGS)
    )


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", '{"weight_map": 3}'])
def test_a_damaged_index_of_shards_is_one_line(
    offline: Hub, hub_config: MakeConfig, tmp_path: Path, pipelines: dict[str, Path], text: str
) -> None:
    del offline
    folder = tmp_path / "own"
    shutil.copytree(pipelines["sd20"], folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(f"{weights.with_suffix('')}-00001-of-00002.safetensors")
    Path(f"{weights}.index.json").write_text(text)
    line = told(hub_config("sd20", path=folder))
    assert line.startswith(f"backbone.path={folder}: has a damaged index of shards in unet")


def test_an_incomplete_copy_in_the_cache_is_completed_where_there_is_a_network(
    hub: Hub, hub_config: MakeConfig, pipelines: dict[str, Path]
) -> None:
    shutil.rmtree(hub.put("own/model") / "vae")
    hub.online = {"own/model": pipelines["sd20"]}
    assert find_source(hub_config("sd20", **SETTINGS)).place == "hub"


def test_pickled_weights_are_refused_before_they_are_downloaded(
    hub: Hub, hub_config: MakeConfig, tmp_path: Path, pipelines: dict[str, Path]
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(pipelines["dit_xl2_512"], folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    expected = "has transformer/diffusion_pytorch_model.bin but no transformer/diffusion_pytorch_"
    assert expected in told(hub_config("dit_xl2_512", path=folder))
    hub.online = {"own/model": folder}
    line = told(hub_config("dit_xl2_512", **{**SETTINGS, "mirrors": []}))
    assert f"own/model at main: {expected}" in line
    assert "scripts/to_safetensors.py FOLDER" in line
    assert hub.patterns == []


def test_no_folder_is_one_line(hub_config: MakeConfig, tmp_path: Path) -> None:
    line = told(hub_config("sdxl", path=tmp_path / "nowhere"))
    assert line.startswith(f"backbone.path={tmp_path / 'nowhere'}: is no folder; allowed: one in")
    assert "unet, vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, scheduler; " in line
    doctor = f"`bigain doctor backbone=sdxl backbone.path={tmp_path / 'nowhere'}`"
    assert line.endswith(f"{doctor} checks what is there")


def test_hashes_are_those_of_all_files_that_are_read(
    pipelines: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(pipelines["sdxl"], folder)
    read = sorted(name for name in list_files(folder) if "/" in name)
    for other in ("notes.txt", "samples/a.json", "unet/diffusion_pytorch_model.fp16.safetensors"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_bytes(b"not read")
    hashes = file_hashes(folder, components_of("sdxl"), None)
    assert hashes == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in read
    }
    assert sum(name.endswith(".safetensors") for name in hashes) == 4
    assert {"scheduler/scheduler_config.json", "tokenizer/vocab.json"} <= hashes.keys()


def test_a_fingerprint_stands_for_names_and_contents() -> None:
    one, two = "unet/a.safetensors", "vae/b.safetensors"
    hashes = {one: "1", two: "2"}
    assert fingerprint(hashes) == fingerprint(dict(reversed(hashes.items())))
    assert fingerprint(hashes) == fingerprint({**hashes, "unet/config.json": "3"})
    assert len(fingerprint(hashes)) == 12
    others = [{one: "1", two: "3"}, {one: "1"}, {one: "2", two: "1"}, {}]
    assert len({fingerprint(other) for other in [hashes, *others]}) == 5
