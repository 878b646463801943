import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bigain.errors import UserError
from bigain.features.reference import (
    ReferenceSource,
    cached_reference,
    check_fits,
    compute_reference,
    read_reference,
)
from bigain.metrics import moments_of

SOURCE = ReferenceSource(dataset="fashion_mnist", split="test", content="c" * 64)


class Counted(list[npt.NDArray[np.uint8]]):
    """Images that know how often they were looked at."""

    looks = 0

    def __getitem__(self, position: Any) -> Any:
        self.looks += 1
        return super().__getitem__(position)


@pytest.fixture
def images() -> Counted:
    generator = np.random.default_rng(0)
    return Counted([generator.integers(0, 256, (6, 6), dtype=np.uint8) for _ in range(20)])


def test_it_is_computed_once(tmp_path: Path, corners: Any, images: Counted) -> None:
    first = cached_reference(tmp_path, SOURCE, corners, images)
    assert images.looks == 20
    again = cached_reference(tmp_path, SOURCE, corners, Counted())
    assert first.features is not None
    assert again.features is not None
    assert np.array_equal(first.features, again.features)
    assert np.array_equal(first.moments.covariance, again.moments.covariance)
    assert np.array_equal(first.moments.mean, moments_of(first.features).mean)
    assert again.about == first.about
    assert again.moments.n == 20
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as arrays:  # as pytorch-fid reads it
        assert np.array_equal(arrays["mu"], first.moments.mean)
        assert np.array_equal(arrays["sigma"], first.moments.covariance)
    mixed = [np.zeros((6, 6), np.uint8), np.ones((9, 5), np.uint8)]
    other = replace(SOURCE, content="mixed sizes")
    assert cached_reference(tmp_path, other, corners, mixed).moments.n == 2


def test_a_sidecar_says_what_it_is(tmp_path: Path, corners: Any, images: Counted) -> None:
    cached_reference(tmp_path, SOURCE, corners, images)
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text()) == {
        "dataset": "fashion_mnist",
        "split": "test",
        "content": "c" * 64,
        "selection": "all images",
        "extractor": "corners",
        "extractor_revision": "0" * 12,
        "resize": "none",
        "dimension": 4,
        "metric": "frechet_mini",
        "n": 20,
    }
    assert path.with_suffix(".npz").is_file()


@pytest.mark.parametrize(
    "changed", ["content", "split", "selection", "dataset", "revision", "resize"]
)
def test_whatever_changes_it_gives_another_one(
    tmp_path: Path, corners: Any, images: Counted, changed: str
) -> None:
    cached_reference(tmp_path, SOURCE, corners, images)
    source = SOURCE
    if changed in {"revision", "resize"}:
        setattr(corners, changed, "other")
    else:
        source = replace(SOURCE, **{changed: "other"})
    cached_reference(tmp_path, source, corners, images)
    assert len([*tmp_path.glob("*.npz")]) == 2


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_cache_is_computed_again(
    tmp_path: Path, corners: Any, images: Counted, keep: int
) -> None:
    whole = cached_reference(tmp_path, SOURCE, corners, images)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:keep])
    again = cached_reference(tmp_path, SOURCE, corners, images)
    assert np.array_equal(again.moments.covariance, whole.moments.covariance)
    assert read_reference(path).moments.n == 20


def test_files_of_pytorch_fid_are_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((30, 5))
    np.savez_compressed(tmp_path / "s.npz", mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    found = read_reference(tmp_path / "s.npz")
    np.testing.assert_allclose(found.moments.mean, rows.mean(0))
    np.testing.assert_allclose(found.moments.covariance, np.cov(rows, rowvar=False))
    assert found.features is None
    assert found.moments.n is None
    assert found.about == {"dataset": str(tmp_path / "s.npz")}


@pytest.mark.parametrize(("n", "known"), [(30, 30), ("30", None), (None, None), (1, None)])
def test_a_description_may_tell_the_number_of_images(
    tmp_path: Path, n: object, known: int | None
) -> None:
    np.savez(tmp_path / "s.npz", mu=np.zeros(3), sigma=np.eye(3))
    (tmp_path / "s.json").write_text(json.dumps({"dataset": "x", "n": n}))
    assert read_reference(tmp_path / "s.npz").moments.n == known


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"metric": "fid"}, r"^s: has metric=fid; allowed: metric=frechet_mini"),
        ({"extractor_revision": "1" * 12}, "extractor_revision=111111111111; allowed"),
    ],
)
def test_a_reference_of_another_extractor_does_not_fit(
    corners: Any, about: dict[str, str], message: str
) -> None:
    rows = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    own = {"metric": corners.metric, "extractor_revision": corners.revision}
    for fitting in ({}, own):
        check_fits(compute_reference(rows[:, :4], fitting), corners, "s")
    with pytest.raises(UserError, match=message):
        check_fits(compute_reference(rows[:, :4], {**own, **about}), corners, "s")
    with pytest.raises(UserError, match=r"^s: has dimension=5; allowed: dimension=4"):
        check_fits(compute_reference(rows, {}), corners, "s")


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        _npz(mu=np.zeros(3)),
        _npz(mu=np.zeros(3), sigma=np.eye(4)),
        _npz(mu=np.full(3, np.nan), sigma=np.eye(3)),
        _npz(mu=np.zeros(3), sigma=np.eye(3), features=np.zeros((5, 4))),
        _npz(mu=np.array([None] * 3), sigma=np.eye(3)),
        _npz(mu=np.array(["a"] * 3), sigma=np.eye(3)),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    """The last but one would be unpickled if pickles were allowed."""
    (tmp_path / "s.npz").write_bytes(content)
    for name in ("s", "missing"):
        with pytest.raises(
            UserError, match=rf"{name}\.npz: .*; allowed: a \.npz with mu"
        ) as caught:
            read_reference(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sidecar", ["{", "[1]", "\xff"])
def test_a_broken_sidecar_costs_the_description_alone(
    tmp_path: Path, corners: Any, images: Counted, sidecar: str
) -> None:
    cached_reference(tmp_path, SOURCE, corners, images)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(sidecar.encode("latin1"))
    assert read_reference(path.with_suffix(".npz")).moments.n == 20


def test_features_that_are_not_finite_are_never_kept(
    tmp_path: Path, corners: Any, images: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corners, "features", lambda block: block / 0 * 0)
    with pytest.raises(UserError, match="NaN"):
        cached_reference(tmp_path, SOURCE, corners, images)
    assert not [*tmp_path.iterdir()]
