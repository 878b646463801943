"""Against pytorch-fid itself, both with the same seeded random weights.

The published weights cannot be had without a network; the architecture, the preprocessing and the
statistic, which is what could differ, are the same with any weights.
"""

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from pytorch_fid import fid_score
from pytorch_fid import inception as pytorch_fid_inception
from pytorch_fid.inception import InceptionV3
from scipy import linalg

from bigain.errors import UserError
from bigain.features import inception
from bigain.features.base import FolderImages, extract
from bigain.features.inception import (
    WEIGHTS_URL,
    InceptionExtractor,
    check_weights,
    find_weights,
)
from bigain.files import file_sha256
from bigain.metrics import frechet_distance, moments_of

WriteImages = Callable[..., Path]


@pytest.fixture
def hub(random_inception: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch hub's cache with the random weights in the place of the published ones."""
    monkeypatch.setenv("TORCH_HOME", str(random_inception.parents[2]))
    return random_inception


@pytest.fixture
def sqrtm_with_disp(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pytorch-fid expects of SciPy; from 1.18 on sqrtm has no `disp`."""

    def sqrtm(matrix: Any, disp: bool = True) -> Any:
        return root(matrix) if disp else (root(matrix), 0.0)

    root = linalg.sqrtm
    monkeypatch.setattr(linalg, "sqrtm", sqrtm)


def test_features_are_those_of_pytorch_fid(hub: Path, write_images: WriteImages) -> None:
    folder = write_images("a", 5)
    theirs = fid_score.get_activations(
        sorted(folder.iterdir()), InceptionV3([3]), batch_size=5, num_workers=0
    )
    ours = extract(InceptionExtractor(), FolderImages(folder))
    assert ours.shape == (5, 2048)
    assert ours.std(axis=0).mean() > 0.01  # the random network tells images apart
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.usefixtures("sqrtm_with_disp")
def test_the_distance_is_that_of_pytorch_fid(hub: Path, write_images: WriteImages) -> None:
    """Two folders through both programs, at 64 features, which are quick."""
    a, b = write_images("a", 20), write_images("b", 24, level=40)
    theirs = fid_score.calculate_fid_given_paths([str(a), str(b)], 7, "cpu", 64, 0)
    extractor = InceptionExtractor(dimension=64)
    left, right = (extract(extractor, FolderImages(f), workers=2) for f in (a, b))
    assert theirs > 0.01
    assert frechet_distance(*map(moments_of, (left, right))) == pytest.approx(theirs, rel=1e-4)
    assert np.array_equal(extract(extractor, FolderImages(a)), left)
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    colour = extractor.prepare(np.repeat(grey[..., None], 3, axis=2))
    assert torch.equal(extractor.prepare(grey), colour)


@pytest.mark.slow
def test_the_command_line_is_that_of_pytorch_fid(hub: Path, write_images: WriteImages) -> None:
    """`bigain fid A B` against `python -m pytorch_fid A B`, at 2,048 features."""
    folders = [str(write_images("a", 12)), str(write_images("b", 12, level=40))]
    shim = (
        "import sys, scipy.linalg as l; r = l.sqrtm\n"
        "l.sqrtm = lambda m, disp=True: r(m) if disp else (r(m), 0.0)\n"
        "from pytorch_fid.fid_score import main; main()"
    )
    theirs = _run("-c", shim, *folders, "--num-workers", "0", "--batch-size", "5", "--device=cpu")
    printed = re.search(r"FID:\s+(\S+)", theirs)
    assert printed is not None
    ours = json.loads(_run("-m", "bigain", "fid", *folders, "--format", "json"))
    value = ours["metrics"][0]["value"]
    assert value == pytest.approx(float(printed.group(1)), rel=1e-4)


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8), np.float32), np.zeros(8, np.uint8)]
)
def test_other_arrays_are_refused(hub: Path, image: Any) -> None:
    with pytest.raises(UserError, match=r"image 0: .*(uint8|float32) .*; allowed: uint8"):
        extract(InceptionExtractor(dimension=64), [image])


def test_weights_are_named_and_unpublished_ones_warned_of(
    random_inception: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = pytorch_fid_inception.load_state_dict_from_url
    extractor = InceptionExtractor(random_inception, dimension=64)
    assert pytorch_fid_inception.load_state_dict_from_url is before
    assert re.fullmatch("[0-9a-f]{12}", extractor.revision)
    assert "not the published Inception" in caplog.text
    assert (extractor.metric, extractor.dimension) == ("fid", 64)


def test_a_path_comes_before_the_cache_and_the_cache_before_a_download(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.pth"
    mine.touch()
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    assert find_weights(mine) == mine
    assert find_weights() == hub
    with pytest.raises(UserError, match=r"weights=.*x\.pth: no such file"):
        find_weights(tmp_path / "x.pth")
    with pytest.raises(UserError, match="dimension=100: allowed: 64, 192, 768, 2048"):
        InceptionExtractor(dimension=100)


def test_a_download_goes_into_the_cache_and_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda url, target, hash_prefix: asked.append((url, target, hash_prefix)),
    )
    found = find_weights()
    assert asked == [(WEIGHTS_URL, str(found), "6726825d")]
    assert found.is_relative_to(tmp_path)
    assert found.name == "pt_inception-2015-12-05-6726825d.pth"


@pytest.mark.parametrize(
    "failure", [URLError("no network"), RuntimeError("invalid hash value"), OSError("disk full")]
)
def test_without_weights_every_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError) as caught:
        InceptionExtractor()
    message = str(caught.value)
    for part in (str(tmp_path), WEIGHTS_URL, "--weights FILE", "mini", str(failure)):
        assert part in message
    assert "\n" not in message


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path("pwned").touch, ())


@pytest.mark.parametrize("content", ["text", "empty", "pickle", "checkpoint", "other", "list"])
def test_files_of_something_else_are_refused_and_run_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    if content in {"text", "empty"}:
        path.write_text("no weights" * (content == "text"))
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        objects = {"checkpoint": {"w": Evil()}, "other": {"w": torch.zeros(2)}, "list": [1]}
        torch.save(objects[content], path)
    with pytest.raises(UserError, match=r"w\.pth: has no weights of Inception") as caught:
        InceptionExtractor(path)
    assert "\n" not in str(caught.value)
    assert not Path("pwned").exists()


def test_weights_are_known_by_their_content(
    random_inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not check_weights(random_inception), "Inception, and not the published one"
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", file_sha256(random_inception)[:8])
    assert check_weights(random_inception)
    half = tmp_path / "half.pth"
    half.write_bytes(random_inception.read_bytes()[:1000])
    with pytest.raises(UserError, match="has no weights of Inception"):
        check_weights(half)
