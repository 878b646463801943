"""The code of docs/operators.md runs, and its tables name what there is."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bigain import operators
from bigain.launch.compose import compose_config
from bigain.locations import CONFIGS
from bigain.operators.cells import DESTINATIONS
from bigain.runs.identity import baseline_id, run_id

ROOT = CONFIGS.parent
TEXT = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tiny_unet: nn.Module) -> dict[str, Any]:
    """What a reader has at hand: a pipeline, its U-Net, something to call it with."""
    sample, text = torch.zeros(1, 2, 8, 8), torch.zeros(1, 3, 6)

    class Pipeline:
        unet = tiny_unet

        def __call__(self, prompt: str) -> SimpleNamespace:
            output = self.unet(sample, 500, encoder_hidden_states=text)
            return SimpleNamespace(images=[output.sample, prompt])

    return {"pipeline": Pipeline(), "unet": tiny_unet, "sample": sample, "text": text}


def test_the_examples_run(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = blocks("python")
    exec(first, names)
    assert "removed, 3 sites, 1 forwards" in capsys.readouterr().out
    exec(second, names)
    assert [use.part for use in names["report"].sites] == ["self", "mlp"]


def test_every_operator_of_the_configuration_is_in_the_table() -> None:
    table = TEXT.partition("SA(q, k) =")[0]
    listed = set(re.findall(r"^\| \[?`(\w+)`", table, re.MULTILINE))
    assert listed == {path.stem for path in (CONFIGS / "operator").glob("*.yaml")}
    classes = set(re.findall(r"`(\w+)(?:\(\w+, \w+\))?` \|", table)) & set(operators.__all__)
    assert classes >= {"Identity", "ToMe", "LGTM", "CachedAssignment", "ABM", "SiTo", "ToDo"}
    assert classes >= {"AvgPool", "IEKVD", "KVSelect", "ByStage"}


def test_every_score_is_in_the_table() -> None:
    section = TEXT.partition("## Token scores")[2].partition("\n## ")[0]
    rows = "".join(line for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) >= set(operators.SCORES)
    assert not [name for name in operators.SCORES if f"`{name}`" not in rows]


def test_links_to_the_document_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CHANGELOG.md"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"operators\.md#([\w-]+)\)", text)) <= anchors, path
    assert "operators.md#the-released-code-and-this-one" in (ROOT / "README.md").read_text("utf-8")


RELEASED = TEXT.partition("\n## The released code and this one\n")[2].partition("\n## ")[0]


def test_the_settings_that_act_like_the_released_code_exist() -> None:
    named = set(re.findall(r"`(operator|task)\.(\w+)=", RELEASED))
    assert named >= {
        *(("operator", key) for key in ("destinations", "draws", "align", "skip_final_step")),
        ("task", "image_format"),
    }
    assert "`operator.protect_ratio`" in RELEASED
    for group, key in named:
        files = (CONFIGS / group).glob("*.yaml")
        assert any(f"\n{key}: " in path.read_text(encoding="utf-8") for path in files), key


def test_the_example_of_4x4_tokens_is_what_the_rules_choose() -> None:
    scores = torch.full((1, 16), 9.0)
    scores[0, 3] = 0
    said = re.search(r"Eq. 7 selects tokens ([\d,\s]+); the released code ([\d,\s]+),", RELEASED)
    assert said is not None
    for name, numbers in zip(("eq7", "as_released"), said.groups(), strict=True):
        chosen = sorted(DESTINATIONS[name](scores, (4, 4), (2, 2))[0].tolist())
        assert chosen == [int(number) for number in numbers.split(",")]


def test_the_runs_that_separate_pairing_from_the_laplacian_are_different_runs() -> None:
    text = TEXT.partition("**To separate pairing")[2].partition("## ")[0]
    common = re.search(r'common="(.*)"', text)
    assert common is not None
    commands = re.findall(r"^python -m bigain \$common ([^#\n]*)", text, re.MULTILINE)
    names = {run_id(compose_config([*common[1].split(), *each.split()])) for each in commands}
    assert len(names) == len(commands) == 8
    (baseline,) = re.findall(r"^python -m bigain (backbone[^#\n]*)", text, re.MULTILINE)
    alone = run_id(compose_config(baseline.split()))
    configs = [compose_config([*common[1].split(), *each.split()]) for each in commands]
    assert {baseline_id(config) for config in configs} == {alone}
