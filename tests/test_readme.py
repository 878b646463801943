"""What README and docs tell people to type is understood, and what a run costs there is counted."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bigain.backbones.weight_files import download_bytes
from bigain.cli import flops
from bigain.cli.flops import SweepCase, flops_rows
from bigain.cli.main import VERBS, main
from bigain.doctor.hardware import cache_bytes
from bigain.launch.compose import compose_configs
from bigain.launch.plan import plan_runs
from bigain.runs.flops import known_flops
from bigain.runs.identity import run_id
from bigain.tables.planner import Place, Plan, plan_table
from bigain.tables.render import load_spec

Work = dict[tuple[str, str], float]
ROOT = Path(__file__).parents[1]
TEXTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
HARDWARE = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[str]:
    """The blocks of code that are no language's: what one types."""
    kind, lines = None, list[str]()
    for line in text.splitlines():
        if line.startswith("```") and kind is None:
            kind, lines = line[3:], []
        elif line.startswith("```"):
            if not kind:
                yield "\n".join(lines)
            kind = None
        else:
            lines.append(line)


def commands(text: str) -> list[list[str]]:
    """The words after `bigain` of each command in a block, without comments."""
    lines = "\n".join(blocks(text)).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.sub(r"\s#.*", "", line).split(";")]
    matches = [re.match(r"\s*(?:python -m )?bigain (.*)", part) for part in parts]
    return [shlex.split(each[1]) for each in matches if each]


ALL = [words for text in TEXTS for words in commands((ROOT / text).read_text("utf-8"))]
VERBS_TYPED = [words for words in ALL if words[0] in VERBS]
RUNS_TYPED = [words for words in ALL if words[0] not in VERBS and words[0] != "VERB"]
PETS = [words for words in commands(HARDWARE) if "dataset=pets" in words]


def test_commands_are_found() -> None:
    text = "```python\nx\n```\nbigain status\n```\nbigain status; bigain collect # x\n```\n"
    assert commands(text) == [["status"], ["collect"]]
    assert commands("```\npython -m bigain -m a=b \\\n    c=d # e\n```\n") == [["-m", "a=b", "c=d"]]
    assert len(VERBS_TYPED) >= 10
    assert len(RUNS_TYPED) >= 8
    assert len(PETS) == 4


@pytest.mark.parametrize("words", RUNS_TYPED, ids=" ".join)
def test_every_run_that_is_typed_composes(words: list[str]) -> None:
    settings = [word for word in words if not word.startswith("-") and word != "..."]
    assert plan_runs(settings, "-m" in words).runs


@pytest.mark.parametrize("words", VERBS_TYPED, ids=" ".join)
def test_every_option_of_a_verb_exists(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], "--help"]) == 0
    known = set(re.findall(r"-[-\w]+", capsys.readouterr().out))
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known
    settings = [word for word in words[1:] if "=" in word and not word.startswith("-")]
    if words[0] == "doctor" and "profile=paper" in settings and len(settings) > 1:
        assert plan_runs(settings).runs


PETS_PLACE = Place("sd20", "pets", "classification")


@pytest.fixture(scope="module")
def table4() -> Plan:
    return plan_table(load_spec(4), "paper", "default", [], compose_configs)


def test_the_pets_row_of_table_4_is_what_docs_hardware_makes(table4: Plan) -> None:
    """So that `bigain table 4 --profile paper --no-run` finds every run of it."""
    wanted = {run.run_id for cell, run in table4.runs.items() if cell.place == PETS_PLACE}
    made = [words for words in PETS if words[0] not in VERBS]
    plans = [plan_runs([w for w in words if w != "-m"], "-m" in words).runs for words in made]
    assert {run_id(run.config) for runs in plans for run in runs} == wanted
    assert len(wanted) == 22


def pets_work(plan: Plan, monkeypatch: pytest.MonkeyPatch, wanted: Callable[[str], bool]) -> Work:
    """(row, setting) -> GFLOPs of its run on Pets, of the rows that are wanted.

    The rule of the released code costs what Eq. 7 costs.
    """
    pets = {cell[1:]: run for cell, run in plan.runs.items() if cell.place == PETS_PLACE}
    cells = {cell: (cell[0].removesuffix("_released"), cell[1]) for cell in pets if wanted(cell[0])}
    settings = [SweepCase(*cell) for cell in dict.fromkeys(cells.values())]
    monkeypatch.setattr(flops, "sweep", lambda _: settings)
    counted = {(row["operator"], row["setting"]): row["counted_g"] for row in flops_rows("sd20")}
    return {cell: pets[cell].evaluations * counted[own] for cell, own in cells.items()}


def gpus() -> list[list[float]]:
    """GFLOP/s, hours of one run and of all, for each card of the table."""
    row = r"^\| (?:RTX|A|H)\w*[^|]*\| ([\d,]+) \| ([\d.]+) h \| ([\d.]+) h"
    found = re.findall(row, HARDWARE, flags=re.MULTILINE)
    return [[float(value.replace(",", "")) for value in values] for values in found]


def test_the_hours_of_one_run_are_those_of_the_counted_flops(
    table4: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work,) = pets_work(table4, monkeypatch, lambda name: name == "none").values()
    assert work / (3669 * 260) == pytest.approx(804.26, abs=0.01)
    assert "3,669 x 260 x 804.26 / (3600 x GFLOP/s)" in HARDWARE
    assert len(gpus()) == 3
    for speed, hours, _ in gpus():
        assert hours == pytest.approx(work / speed / 3600, abs=0.06)


@pytest.mark.slow
def test_the_hours_of_all_runs_are_those_of_the_counted_flops(
    table4: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = pets_work(table4, monkeypatch, lambda _: True)
    assert len(work) == 22
    for speed, _, hours in gpus():
        assert hours == pytest.approx(sum(work.values()) / speed / 3600, rel=0.03)


@pytest.mark.slow
def test_the_cost_of_what_was_not_run_is_that_of_the_counted_flops() -> None:
    rows = re.findall(r"^\| Table (\d+): .+? \| (\d+) \| (\d+) \| (\d+) \|", HARDWARE, re.M)
    assert len(rows) == 5
    for number, runs, exaflop, hours in rows:
        plan = plan_table(load_spec(int(number)), "paper", "default", [], compose_configs)
        counts = {run.run_id: known_flops(run.config) for run in plan.distinct()}
        assert len(counts) == int(runs)
        work = sum(run.evaluations * (counts[run.run_id] or 0) for run in plan.distinct())
        assert work / 1e18 == pytest.approx(float(exaflop), abs=0.51)
        assert work / 125e12 / 3600 == pytest.approx(float(hours), abs=0.51)


def test_the_disk_is_as_large_as_it_says() -> None:
    (config,) = compose_configs([["profile=paper", "backbone=sd20", "dataset=pets"]])
    assert f"{download_bytes('sd20', None) / 1e9:.1f} GB of weights" in HARDWARE
    assert f"{download_bytes('sd20', 'fp16') / 1e9:.1f} GB with `backbone.variant=fp16`" in HARDWARE
    assert f"{cache_bytes(config) / 1e9:.2f} GB of cached latents" in HARDWARE
