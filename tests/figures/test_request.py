import re
from dataclasses import replace

import pytest

from bigain.errors import UserError
from bigain.figures.request import FigureRequest, check_overrides


def test_the_default_profile_is_not_named_and_other_settings_are(asked: FigureRequest) -> None:
    other = replace(asked, profile="paper", extra=("seed=1",))
    assert asked.command("operator=none") == "python -m bigain operator=none"
    assert other.command("operator=tome,lgtm", sweep=True) == (
        "python -m bigain -m profile=paper operator=tome,lgtm seed=1"
    )


def test_configurations_have_the_profile_and_the_settings_of_all(asked: FigureRequest) -> None:
    other = replace(asked, profile="paper", extra=("seed=1",))
    (config,) = other.configs([["backbone=sd20", "dataset=pets"]])
    assert (config.profile, config.seed, config.dataset.num_images) == ("paper", 1, 3669)
    (config,) = asked.configs([["backbone=mini_unet"]])
    assert (config.profile, config.seed, config.dataset.num_images) == ("mini", 0, 400)


def test_all_backbones_or_the_one_that_was_asked_for(asked: FigureRequest) -> None:
    names = ["sd20", "sd20", "dit_xl2_512"]
    assert asked.chosen(names) == ["sd20", "dit_xl2_512"]
    assert replace(asked, backbone="sd20").chosen(names) == ["sd20"]
    with pytest.raises(UserError, match=r"^--backbone=sd2: allowed: sd20, dit_xl2_512; did you"):
        replace(asked, backbone="sd2").chosen(names)


def test_settings_that_the_figures_set_cannot_be_overridden() -> None:
    check_overrides(["seed=1", "dataset.limit=25", "backbone.path=x"])
    for word in ("backbone=sd20", "+dataset=pets", "operator.ratio=0.5", "task=generation", "seed"):
        with pytest.raises(UserError, match=f"{re.escape(word)}: .*allowed: "):
            check_overrides([word])
