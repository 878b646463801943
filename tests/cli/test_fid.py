import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bigain.cli import main as cli
from bigain.cli.fid import main
from bigain.data.fashion_mnist import FashionMNIST
from bigain.devices import limited_threads
from bigain.engine import build
from bigain.errors import UserError
from bigain.features.base import extract
from bigain.features.mini import REVISION, MiniExtractor
from bigain.launch.compose import compose_config
from bigain.metrics import frechet_distance, generation_metrics, moments_of

Write = Callable[..., Path]


@pytest.fixture
def write_clothes(tmp_path: Path) -> Write:
    """Test images number `start` to `stop` in a folder."""

    def write(name: str, start: int, stop: int) -> Path:
        dataset, folder = FashionMNIST(limit=stop), tmp_path / name
        folder.mkdir()
        for position in range(start, stop):
            Image.fromarray(dataset[position].image).save(folder / f"{position:04d}.png")
        return folder

    return write


def features(start: int, stop: int) -> Any:
    dataset = FashionMNIST(limit=stop)
    return extract(MiniExtractor(), [dataset[i].image for i in range(start, stop)])


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    assert main([*map(str, arguments), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_two_folders(write_clothes: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_clothes("a", 0, 80), write_clothes("b", 80, 160)
    found, err = run(capsys, a, b, "--extractor", "mini", "--workers", 3)
    x, y = features(0, 80), features(80, 160)
    expected = generation_metrics("frechet_mini", x, moments_of(y), y)
    assert [m["metric"] for m in found["metrics"]] == [
        "frechet_mini",
        "kid",
        "kid_error",
        "precision",
        "recall",
    ]
    assert [m["value"] for m in found["metrics"]] == [m.value for m in expected]
    assert found["metrics"][0]["ci"] == [expected[0].ci_low, expected[0].ci_high]
    assert err == ""
    about = found["about"]
    assert (about["extractor"], about["revision"]) == ("mini", REVISION)
    assert (about["n_a"], about["n_b"]) == (80, 80)
    assert "28 x 28" in about["resize"]


def test_the_mini_network_takes_one_thread(
    write_clothes: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def watch(*arguments: Any, **settings: Any) -> Any:
        seen.add(torch.get_num_threads())
        return extract(*arguments, **settings)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("bigain.cli.fid.extract", watch)
    a, b = write_clothes("a", 0, 4), write_clothes("b", 4, 8)
    with limited_threads(2):
        run(capsys, a, b, "--extractor", "mini")
    assert seen == {1}


def test_the_same_pictures_in_8_and_16_bits_have_distance_0(
    write_clothes: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    a, deep = write_clothes("a", 0, 80), tmp_path / "deep"
    deep.mkdir()
    for path in a.iterdir():
        with Image.open(path) as image:
            wide = np.asarray(image).astype(np.uint16) * 257
        Image.fromarray(wide).save(deep / path.name)
    found, _ = run(capsys, deep, a, "--extractor", "mini")
    assert abs(found["metrics"][0]["value"]) < 1e-6


def test_float_pictures_are_refused_by_name(
    write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_clothes("a", 0, 3)
    Image.fromarray(np.zeros((28, 28), np.float32)).save(a / "0001.tiff")
    (a / "0001.png").unlink()
    with pytest.raises(UserError, match=r"0001\.tiff: .*floating-point .*allowed: 8 or 16 bits"):
        main([str(a), str(a), "--extractor", "mini"])
    capsys.readouterr()


def test_text_for_people_and_a_warning_of_few_images(
    write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_clothes("a", 0, 20), write_clothes("b", 20, 90)
    assert main([str(a), str(b), "--extractor", "mini"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^frechet_mini +\d+\.\d+ +\[.*\] +20 +feature\^2$", out, re.MULTILINE)
    assert "extractor: mini" in out
    assert "fid " not in out
    assert err.splitlines() == [line for line in err.splitlines() if "n=20 images for 64" in line]
    assert err.startswith("warning: ")


def test_statistics_on_either_side(
    tmp_path: Path, write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, rows, more = write_clothes("a", 0, 70), features(70, 150), features(0, 70)
    for name, x in (("b", rows), ("c", more)):
        np.savez(tmp_path / f"{name}.npz", mu=x.mean(0), sigma=np.cov(x, rowvar=False))
    b, c = tmp_path / "b.npz", tmp_path / "c.npz"
    folder, _ = run(capsys, a, b, "--extractor", "mini")
    files, _ = run(capsys, c, b, "--extractor", "mini")
    assert [m["metric"] for m in folder["metrics"]] == ["frechet_mini"]
    assert folder["metrics"][0]["ci"] is not None
    assert files["metrics"][0]["ci"] is None
    expected = frechet_distance(moments_of(more), moments_of(rows))
    for found in (folder, files):
        assert found["metrics"][0]["value"] == pytest.approx(expected, rel=1e-4)
    assert main([str(c), str(b)]) == 0
    assert re.search(r"^frechet +\d+\.\d+ +\? +feature\^2$", capsys.readouterr().out, re.MULTILINE)


def test_missing_numbers_are_explained_by_notes(
    tmp_path: Path, write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, rows = write_clothes("a", 0, 70), features(0, 70)
    b = tmp_path / "b.npz"
    np.savez(b, mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    for sides in ((a, b), (b, a)):
        found, err = run(capsys, *sides, "--extractor", "mini")
        number, features_of = err.splitlines()
        assert all(line.startswith(f"note: {b}: ") for line in (number, features_of))
        assert "64" in number
        assert "KID" in features_of
        assert ("interval" in features_of) == (sides[0] == b)
        assert (found["metrics"][0]["ci"] is None) == (sides[0] == b)


def test_few_images_of_statistics_are_warned_of_where_their_number_is_known(
    tmp_path: Path, write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    many, few = write_clothes("many", 0, 70), write_clothes("few", 70, 90)
    rows = features(0, 70)
    a = tmp_path / "a.npz"
    np.savez(a, mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    _, err = run(capsys, a, few, "--extractor", "mini")
    assert "warning: n=20 images for 64 features" in err, "the other side is few"
    (tmp_path / "a.json").write_text(json.dumps({"dataset": "clothes", "n": 30}))
    found, err = run(capsys, a, many, "--extractor", "mini")
    assert "warning: n=30 images for 64 features" in err
    assert (found["metrics"][0]["n"], found["about"]["n_a"]) == (30, 30)
    assert "does not say how many" not in err
    (tmp_path / "a.json").write_text(json.dumps({"dataset": "clothes", "n": "many"}))
    assert "a.npz: does not say how many" in run(capsys, a, many, "--extractor", "mini")[1]


def write_wrong_files(folder: Path) -> None:
    (folder / "text.npz").write_text("mu, sigma")
    (folder / "large").mkdir()
    for name in "01":
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "large" / f"{name}.png")
    sigmas = {"3": np.eye(3), "4": np.eye(4), "fid": np.eye(3), "mini": np.eye(3)}
    for name, sigma in (sigmas | {"minus": -np.eye(3)}).items():
        np.savez(folder / f"{name}.npz", mu=np.zeros(len(sigma)), sigma=sigma)
    for name, metric in (("fid", "fid"), ("mini", "frechet_mini")):
        (folder / f"{name}.json").write_text(json.dumps({"dataset": name, "metric": metric}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "usage: bigain fid"),
        (["a", "nowhere"], "nowhere: does not exist; allowed: a folder of images, or a .npz"),
        (["a", "b", "--limit", "5"], "a: limit=5: allowed: 1 to 4"),
        (["a", "b", "--device", "abacus"], "--device=abacus: cannot be used"),
        (
            ["a", "b", "--weights", "w.pth"],
            "/w.pth: allowed only with --extractor=inception",
        ),
        (["a", "b", "--extractr", "mini"], "--extractor"),
        (["a", "no.npz"], "no.npz: cannot be read as statistics"),
        (["a", "text.npz"], "text.npz: cannot be read as statistics"),
        (["a", "b", "--limit", "one"], "--limit=one: allowed: a whole number"),
        (
            ["a", "b", "--limit", "1"],
            "/a: a single image has no covariance; allowed: at least 2",
        ),
        (["a", "b/0004.png"], "0004.png: is not a folder; allowed: a folder of images, or a .npz"),
        (["a", "large"], "0.png: has shape (64, 64); allowed: (28, 28) or (32, 32)"),
        (["a", "3.npz"], "3.npz: has dimension=3; allowed: dimension=64"),
        (["3.npz", "4.npz"], "4.npz has 4; allowed: both from the same --extractor"),
        (["fid.npz", "mini.npz"], "fid, mini: have different features (fid and frechet_mini)"),
        (["minus.npz", "minus.npz"], "without negative eigenvalues"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    write_clothes: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write_clothes("a", 0, 4)
    write_clothes("b", 4, 8)
    write_wrong_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    extractor = [] if "--extractr" in arguments else ["--extractor", "mini"]
    assert cli.main(["fid", *arguments, *extractor]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert "pickle" not in err, "numpy's advice is not ours"


@pytest.mark.parametrize(
    ("b", "message"),
    [("empty", "empty: contains no image"), ("no.npz", "no.npz: cannot be read as statistics")],
)
def test_folders_are_checked_before_inceptions_weights(
    write_clothes: Write, tmp_path: Path, b: str, message: str
) -> None:
    """The weights may have to be downloaded; here they do not exist."""
    (tmp_path / "empty").mkdir()
    sides = [str(write_clothes("a", 0, 4)), str(tmp_path / b)]
    with pytest.raises(UserError, match=message):
        main([*sides, "--weights", str(tmp_path / "nowhere.pth")])


def test_mixed_sizes_need_a_word(write_clothes: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_clothes("a", 0, 70), write_clothes("b", 70, 140)
    with Image.open(a / "0001.png") as image:
        padded = np.pad(np.asarray(image), 2)
    plain, _ = run(capsys, a, b, "--extractor", "mini")
    Image.fromarray(padded).save(a / "0001.png")
    with pytest.raises(UserError, match=r"0001\.png: .* 32x32"):
        main([str(a), str(b), "--extractor", "mini"])
    mixed, _ = run(capsys, a, b, "--extractor", "mini", "--mixed-sizes")
    assert mixed["metrics"][0]["value"] == pytest.approx(plain["metrics"][0]["value"], rel=1e-4)


def test_statistics_of_the_mini_features_are_never_called_fid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = build.build_evaluator(
        compose_config(["task=generation", f"paths.cache={tmp_path}"]),
        torch.device("cpu"),
        progress=False,
    ).reference()
    (kept,) = (tmp_path / "references").glob("*.npz")
    assert main([str(kept), str(kept), "--format", "json"]) == 0
    metric = json.loads(capsys.readouterr().out)["metrics"][0]
    assert metric["metric"] == "frechet_mini"
    unnamed = tmp_path / "unnamed.npz"
    moments = reference.moments
    np.savez(unnamed, mu=moments.mean, sigma=moments.covariance)
    assert main([str(unnamed), str(unnamed), "--format", "json"]) == 0
    metric = json.loads(capsys.readouterr().out)["metrics"][0]
    assert metric["metric"] == "frechet", "64 features of nobody knows what"
