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


def test_workers_do_not_change_a_bit(
    write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_clothes("a", 0, 70), write_clothes("b", 70, 140)
    arguments = (a, b, "--extractor", "mini", "--workers")
    assert run(capsys, *arguments, 0) == run(capsys, *arguments, 4)


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


def test_what_cannot_be_told_is_said(
    tmp_path: Path, write_clothes: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, rows = write_clothes("a", 0, 70), features(0, 70)
    b = tmp_path / "b.npz"
    np.savez(b, mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    _, err = run(capsys, a, b, "--extractor", "mini")
    unknown, lacking = err.splitlines()
    assert unknown.startswith(f"note: {b}: does not say of how many images it is; ")
    assert "fewer than 64" in unknown
    assert lacking == (
        f"note: {b}: holds a mean and a covariance and no features of images; KID, precision and "
        "recall need them"
    )
    found, err = run(capsys, b, a, "--extractor", "mini")
    assert found["metrics"][0]["ci"] is None
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["note", "note"]
    assert "; an interval, KID, precision and recall need them: give its folder" in err


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
    assert "does not say of how many" not in err
    (tmp_path / "a.json").write_text(json.dumps({"dataset": "clothes", "n": "many"}))
    assert "a.npz: does not say of how many" in run(capsys, a, many, "--extractor", "mini")[1]


def test_the_first_so_many(write_clothes: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_clothes("a", 0, 80), write_clothes("b", 80, 160)
    found, _ = run(capsys, a, b, "--extractor", "mini", "--limit", 66)
    assert (found["about"]["n_a"], found["about"]["n_b"]) == (66, 66)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "usage: bigain fid"),
        (["a", "nowhere"], "nowhere: does not exist; allowed: a folder of images, or a .npz"),
        (["a", "b", "--limit", "5"], "a: 5 images asked for; allowed: 1 to 4"),
        (["a", "b", "--device", "abacus"], "--device=abacus: cannot be used"),
        (["a", "b", "--weights", "w.pth"], "--weights=w.pth: allowed with --extractor inception"),
        (["a", "b", "--extractr", "mini"], "--extractor"),
        (["a", "no.npz"], "no.npz: cannot be read as statistics (No such file or directory); all"),
        (["a", "text.npz"], "text.npz: cannot be read as statistics (it is no .npz of plain"),
        (["a", "b", "--limit", "one"], "--limit=one: allowed: a whole number"),
        (["a", "b", "--limit", "1"], "--limit=1, a: one image has no covariance; allowed: at leas"),
        (["a", "b/0004.png"], "is not a folder"),
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
    (tmp_path / "text.npz").write_text("mu, sigma")
    monkeypatch.chdir(tmp_path)
    extractor = [] if "--extractr" in arguments else ["--extractor", "mini"]
    assert cli.main(["fid", *arguments, *extractor]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert "pickle" not in err, "numpy's advice is not ours"


@pytest.mark.parametrize(
    ("b", "message"),
    [("empty", "empty: holds no image"), ("no.npz", "no.npz: cannot be read as statistics")],
)
def test_folders_are_looked_at_before_inceptions_weights(
    write_clothes: Write, tmp_path: Path, b: str, message: str
) -> None:
    """Which may have to be downloaded; here they are nowhere."""
    (tmp_path / "empty").mkdir()
    sides = [str(write_clothes("a", 0, 4)), str(tmp_path / b)]
    with pytest.raises(UserError, match=message):
        main([*sides, "--weights", str(tmp_path / "nowhere.pth")])


def test_statistics_of_different_features_are_named(tmp_path: Path) -> None:
    for d in (3, 4):
        np.savez(tmp_path / f"{d}.npz", mu=np.zeros(d), sigma=np.eye(d))
    with pytest.raises(UserError, match=r"3\.npz: is of 3 features, but .*4\.npz of 4; allowed"):
        main([str(tmp_path / "3.npz"), str(tmp_path / "4.npz")])


def test_a_size_that_the_extractor_cannot_take_is_not_offered_as_mixed(
    write_clothes: Write,
) -> None:
    a = write_clothes("a", 0, 4)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(a / "0001.png")
    with pytest.raises(UserError, match=r"0001\.png: .*64, 64.*takes \(28, 28\) or \(32, 32\)$"):
        main([str(a), str(a), "--extractor", "mini"])


def test_mixed_sizes_need_a_word(write_clothes: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_clothes("a", 0, 70), write_clothes("b", 70, 140)
    with Image.open(a / "0001.png") as image:
        padded = np.pad(np.asarray(image), 2)
    plain, _ = run(capsys, a, b, "--extractor", "mini")
    Image.fromarray(padded).save(a / "0001.png")
    with pytest.raises(UserError, match=r"0001\.png: is of size 32x32"):
        main([str(a), str(b), "--extractor", "mini"])
    mixed, _ = run(capsys, a, b, "--extractor", "mini", "--mixed-sizes")
    assert mixed["metrics"][0]["value"] == pytest.approx(plain["metrics"][0]["value"], rel=1e-4)


def test_statistics_of_another_extractor_are_refused(tmp_path: Path, write_clothes: Write) -> None:
    a = write_clothes("a", 0, 70)
    np.savez(tmp_path / "b.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(
        UserError, match=r"b\.npz: is of dimension=2048; allowed: dimension=64, of the ext"
    ):
        main([str(a), str(tmp_path / "b.npz"), "--extractor", "mini"])


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


def test_statistics_of_other_features_are_refused(tmp_path: Path) -> None:
    for name, metric in (("a", "fid"), ("b", "frechet_mini")):
        np.savez(tmp_path / f"{name}.npz", mu=np.zeros(3), sigma=np.eye(3))
        (tmp_path / f"{name}.json").write_text(json.dumps({"dataset": name, "metric": metric}))
    with pytest.raises(UserError, match=r"^a, b: are of different features \(fid and frechet_mini"):
        main([str(tmp_path / "a.npz"), str(tmp_path / "b.npz")])


@pytest.mark.parametrize("sigma", [-np.eye(3), np.triu(np.ones((3, 3)))])
def test_what_is_no_covariance_is_refused(tmp_path: Path, sigma: Any) -> None:
    np.savez(tmp_path / "a.npz", mu=np.zeros(3), sigma=sigma)
    with pytest.raises(UserError, match="without negative eigenvalues"):
        main([str(tmp_path / "a.npz"), str(tmp_path / "a.npz")])
