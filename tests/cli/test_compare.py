import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.arguments import VerbParser, find_runs
from bigain.cli.compare import main
from bigain.cli.shown_runs import add_choice, choose_runs
from bigain.errors import UserError
from bigain.runs.collect import publish_runs


def folders(tmp_path: Path, *names: str) -> None:
    for name in names:
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")


def test_two_runs_are_compared(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    merged, base = make_run(tome), make_run()
    assert main([merged[:6], base, "--results", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{merged} against {base}, paired over 12 images"
    assert "-33.33" in lines[1]  # images 102, 105, 108, 111 of 12
    assert "+50.00" in lines[2]  # every error is 1.5 times the baseline's
    assert err == ""


@pytest.mark.parametrize("arguments", [[], ["a"]])
def test_it_takes_two_runs_or_more(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="usage: bigain compare"):
        main(arguments)


def test_the_beginning_of_an_id_is_enough(tmp_path: Path) -> None:
    folders(tmp_path, "aa11", "aa22", "bb33")
    assert find_runs(tmp_path, ["b"]) == ["bb33"]
    assert find_runs(tmp_path, ["aa2"]) == ["aa22"]
    assert find_runs(tmp_path, ["aa11"]) == ["aa11"]
    with pytest.raises(UserError, match="run_id=aa: several runs begin so: aa11, aa22"):
        find_runs(tmp_path, ["aa"])
    with pytest.raises(UserError, match=r"run_id=bb34: no such run; allowed: .* mean bb33"):
        find_runs(tmp_path, ["bb34"])


def test_published_runs_have_ids_too(tmp_path: Path, make_run: Callable[..., str]) -> None:
    name = make_run()
    publish_runs(tmp_path, "mini", [name])
    shutil.rmtree(tmp_path / "runs")
    assert find_runs(tmp_path, [name[:6]]) == [name]


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_runs_to_show_are_named_alike_and_found_in_both_profiles(
    profile: str, tmp_path: Path, make_run: Callable[..., str], tome: dict[str, Any]
) -> None:
    names = [make_run(), make_run(tome)]
    publish_runs(tmp_path, "mini", names)
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "mini").rename(tmp_path / profile)
    table = tmp_path / profile / "runs.csv"
    table.write_text(re.sub(r"\bmini\b", profile, table.read_text("utf-8")), "utf-8")
    parser = VerbParser("show", "Show runs.")
    add_choice(parser)
    words = [*(name[:6] for name in names), "--results", str(tmp_path)]
    choice = choose_runs("show", parser.parse_args(words))
    assert (choice.names, choice.archive.profile) == (tuple(names), profile)
    with pytest.raises(UserError, match="run_id=zz: no such run"):
        choose_runs("show", parser.parse_args(["zz", *words]))
    other = {"mini": "paper", "paper": "mini"}[profile]
    with pytest.raises(UserError, match=f"no finished run of profile={other}"):
        choose_runs("show", parser.parse_args([*words, "--profile", other]))


def test_several_runs_are_compared_with_the_last(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [make_run({**tome, "ratio": ratio}) for ratio in (0.5, 0.7)]
    names.append(make_run())
    arguments = [*names, "--results", str(tmp_path)]
    assert main(arguments) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    heads = [f"{name} against {names[-1]}, paired over 12 images" for name in names[:-1]]
    assert [block.splitlines()[0] for block in blocks] == heads
    assert main([*arguments, "--format", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    measured = [each for each in records if each["value"] is not None]
    assert [(each["run"], each["metric"]) for each in measured[::2]] == [
        (name, "acc1") for name in names[:-1]
    ]
    assert {each["metric"] for each in records} > {"best_margin", "pairwise_auc", "eps_rise_low"}
    assert records[0]["p_holm"] == min(1, 2 * records[0]["p"])


def test_a_page_is_written_beside_the_text(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    merged, base = make_run(tome), make_run()
    arguments = [merged, base, "--results", str(tmp_path)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    page = tmp_path / "page.html"
    assert main([*arguments, "--html", str(page)]) == 0
    out, err = capsys.readouterr()
    assert out == text
    assert err.splitlines()[-1] == str(page)
    assert "others than those of the runs" in err, "made-up records are of no garment"
    written = page.read_bytes()
    assert written.count(b'<figure><img src="data:image/png;base64,iVBOR') == 1
    assert written.count(b'<li class="card">') == 4
    assert main([*arguments, "--html", str(page)]) == 0
    assert page.read_bytes() == written, "the same runs give the same bytes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "runs"]


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        ("missing/page.html", "missing does not exist"),
        ("runs", "is no file"),
        ("locked.html", "cannot be written"),
        ("manifest.json/page.html", "manifest.json does not exist"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    file: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "locked.html").write_text("mine")
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr("os.access", lambda path, _: not str(path).endswith("locked.html"))
    monkeypatch.setattr("bigain.cli.compare.read_runs", lambda *_: pytest.fail("worked"))
    path = tmp_path / file
    with pytest.raises(UserError) as caught:
        main(["a", "b", "--results", str(tmp_path), "--html", str(path)])
    assert str(caught.value).startswith(f"--html={path}: ")
    assert wrong in str(caught.value)
    assert (tmp_path / "locked.html").read_text() == "mine"


def test_a_run_against_itself_is_refused(tmp_path: Path, make_run: Callable[..., str]) -> None:
    name = make_run()
    with pytest.raises(UserError, match=f"^run_id={name}: named twice"):
        main([name, name[:5], "--results", str(tmp_path)])
