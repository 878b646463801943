"""Trackers as users choose them, on a command line or in an experiment."""

from pathlib import Path

import pytest

from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.launch.plan import plan_runs


def experiment(folder: Path, trackers: str) -> list[str]:
    """The overrides that choose an experiment with these trackers."""
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(
        f"# @package _global_\ndefaults:\n  - override /tracking: {trackers}\n"
    )
    return [f"hydra.searchpath=[file://{folder}]", "experiment=mine"]


def test_several_trackers_are_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config(["tracking=[trackio,wandb]", "tracking.mode=offline"])
    assert list(config.tracking.trackers) == ["trackio", "wandb"]
    assert config.tracking.mode == "offline"
    alone = [compose_config([f"tracking={name}"]).tracking for name in ("wandb", "trackio")]
    assert {key: each for one in alone for key, each in one.trackers.items()} == (
        config.tracking.trackers
    )
    monkeypatch.setenv("WANDB_RUN_GROUP", "grouped")
    orders = ("trackio,wandb", "wandb,trackio")
    first, second = (compose_config([f"tracking=[{names}]"]).tracking for names in orders)
    assert first == second
    assert first.group == "grouped"
    assert list(compose_config(experiment(tmp_path, "[wandb, trackio]")).tracking.trackers) == [
        *("wandb", "trackio")
    ]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("[none, wandb]", r"tracking=\[none,wandb\]: allowed: tracking=none, or different ones of"),
        ("[wandb, wandb]", r"tracking=\[wandb,wandb\]: allowed: tracking=none, or different ones"),
        ("[]", r"tracking=\[\]: allowed: tracking=none, or different ones of trackio, wandb$"),
        (
            "[wandbb, trackio]",
            r"tracking=wandbb: allowed: none, trackio, wandb; did you mean wandb",
        ),
        ("wandbb", r"tracking=wandbb: allowed: none, trackio, wandb; did you mean wandb"),
    ],
    ids=str,
)
def test_an_experiment_lists_trackers_as_a_command_line_does(
    tmp_path: Path, listed: str, message: str
) -> None:
    overrides = experiment(tmp_path, listed)
    for compose in (compose_config, plan_runs):
        with pytest.raises(UserError, match=f"^{message}"):
            compose(overrides)


def test_an_empty_group_of_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As W&B takes it; a group that is typed has a name."""
    monkeypatch.setenv("WANDB_RUN_GROUP", "")
    assert compose_config(["tracking=wandb"]).tracking.group is None
    with pytest.raises(UserError, match=r"^tracking.group=''"):
        compose_config(["tracking=wandb", "tracking.group=''"])


@pytest.mark.parametrize("tags", ["['']", f"[mine,{65 * 'x'}]"])
def test_tags_that_wandb_refuses_are_refused(tags: str) -> None:
    with pytest.raises(UserError, match=r"^tracking\.tags=.*: allowed: .* 1 to 64 characters"):
        compose_config(["tracking=wandb", f"tracking.tags={tags}"])
    longest = compose_config(["tracking=wandb", f"tracking.tags=[{64 * 'x'}]"]).tracking.tags
    assert len(longest[0]) == 64
