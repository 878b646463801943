"""Settings of the tasks: the diffusion classifier (Algorithm 1, Table 10) and the others.

Stage i of the classifier brings every surviving class to `trial_list[i]` shared (t, eps) trials and
keeps the `keep_list[i]` classes with the lowest mean error; the last one standing is the
prediction.  `allocation=racing` drops classes in a race instead (`bigain.config.race`).
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bigain.config.base import Folder, Integer, Number, Settings, not_allowed, setting_path
from bigain.config.race import Classes, RaceConfig, Trials

__all__ = ["ClassificationConfig", "EfficiencyConfig", "GenerationConfig", "RaceConfig"]
__all__ += ["TaskConfig"]


def _absolute_file(reference: str) -> str:
    """`task.reference`, absolute if it is a file."""
    return str(setting_path(reference)) if reference.endswith(".npz") else reference


class ClassificationConfig(Settings):
    """Zero-shot classification by the class with the lowest noise-prediction error (Eq. 3-4)."""

    name: Literal["classification"] = Field(description="classification")
    trial_list: tuple[Trials, ...] = Field(
        min_length=1,
        description="increasing integers from 1 to 1000, one per stage, such as [5,20]",
    )
    keep_list: tuple[Classes, ...] = Field(
        min_length=1, description="decreasing integers that end in 1, one per stage, such as [5,1]"
    )
    loss: Literal["l2", "l1", "huber"] = Field(description="l2, l1 or huber")
    score: Literal["noise", "velocity", "x0"] | None = Field(
        None, description="noise, velocity or x0, what the errors of the classes are of"
    )
    allocation: Literal["staged", "racing"] | None = Field(None, description="staged or racing")
    race: RaceConfig | None = Field(None, description="the settings of task.allocation=racing")

    @property
    def scored(self) -> Literal["noise", "velocity", "x0"]:
        """`score` by its name."""
        return self.score or "noise"

    @property
    def is_race(self) -> bool:
        """Whether classes are dropped trial by trial."""
        return self.allocation == "racing"

    @property
    def of_race(self) -> RaceConfig:
        """The settings of the race."""
        assert self.race is not None
        return self.race

    @field_validator("score")
    @classmethod
    def _noise_is_none(cls, score: str | None) -> str | None:
        return None if score == "noise" else score

    @field_validator("allocation")
    @classmethod
    def _staged_is_none(cls, allocation: str | None) -> str | None:
        return None if allocation == "staged" else allocation

    @field_validator("race")
    @classmethod
    def _of_races_alone(cls, race: RaceConfig | None, info: ValidationInfo) -> RaceConfig | None:
        return race if info.data.get("allocation") == "racing" else None

    @model_serializer(mode="wrap")
    def _without_what_is_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before there were races and scores: manifests and run ids of earlier runs stay."""
        plain: dict[str, Any] = dump(self)
        new = () if self.is_race else ("allocation", "race")
        new = new if self.score else (*new, "score")
        return {key: value for key, value in plain.items() if key not in new}

    @model_validator(mode="after")
    def _race_fits_the_grid(self) -> Self:
        if not self.is_race:
            return self
        race = self.race
        if race is None:
            raise not_allowed("task.race", "null", "its settings, with task.allocation=racing")
        race.check_grid(self.trial_list)
        return self

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        trials, keep = list(self.trial_list), list(self.keep_list)
        if any(later <= earlier for earlier, later in pairwise(trials)):
            raise not_allowed("task.trial_list", trials, "integers that increase")
        if len(keep) != len(trials):
            allowed = f"{len(trials)} integers, as many as task.trial_list={trials} has stages"
            raise not_allowed("task.keep_list", keep, allowed)
        if keep[-1] != 1 or any(later >= earlier for earlier, later in pairwise(keep)):
            raise not_allowed("task.keep_list", keep, "integers that decrease and end in 1")
        return self


class EfficiencyConfig(Settings):
    """FLOPs of one forward, and time of the denoiser, with and without the operator."""

    name: Literal["efficiency"] = Field(description="efficiency")
    measure: Literal["flops", "time", "all"] = Field(description="flops, time or all")
    steps: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        description="an integer from 1 to 1000, denoising steps of one repeat"
    )
    repeats: Annotated[Integer, Field(ge=1)] = Field(
        description="an integer >= 1, repeats of the baseline and the operator in turn"
    )
    warmup: Annotated[Integer, Field(ge=0)] = Field(
        description="an integer >= 0, steps of each that are not timed, before the first repeat"
    )

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured: flops, time or both."""
        return ("flops", "time") if self.measure == "all" else (self.measure,)


class GenerationConfig(Settings):
    """One generated image per evaluation image, compared with real ones."""

    name: Literal["generation"] = Field(description="generation")
    sampler: Literal["euler", "ddim"] = Field(description="euler or ddim")
    steps: Annotated[Integer, Field(ge=1, le=1000)] = Field(
        description="an integer from 1 to 1000, denoising steps"
    )
    guidance_scale: Number = Field(ge=0, description="a number >= 0; 1 is no guidance")
    images_per_forward: Annotated[Integer, Field(ge=1, le=256)] | Literal["auto"] = Field(
        description="an integer from 1 to 256, images that are denoised together, or auto (fast on "
        "this machine, measured once)"
    )
    image_format: Literal["png", "jpeg"] = Field(description="png or jpeg (quality 100, 4:2:0)")
    extractor: Literal["inception", "mini"] = Field(
        description="inception (FID) or mini (frechet_mini, for Fashion-MNIST, which is no FID)"
    )
    extractor_weights: Folder | None = Field(
        description="null (torch hub's cache, or a download) or a file, Inception's weights"
    )
    reference: Annotated[str, AfterValidator(_absolute_file)] = Field(
        pattern=r"^(split|images|all|.+\.npz)$",
        description="split (the whole evaluation split), images (those of the run alone), all "
        "(Pets: training images too, as the paper's code) or a file FILE.npz of statistics",
    )

    @property
    def named_images_per_forward(self) -> int:
        """`images_per_forward` as a number, which it is as soon as the run has a name."""
        if self.images_per_forward == "auto":
            raise TypeError("task.images_per_forward=auto: has no number before it is measured")
        return self.images_per_forward

    @property
    def statistics(self) -> Path | None:
        """The file of statistics that takes the place of real images; None where there are such."""
        return Path(self.reference) if self.reference.endswith(".npz") else None

    @model_validator(mode="after")
    def _weights_are_used(self) -> Self:
        if self.extractor_weights is not None and self.extractor != "inception":
            allowed = "null, because task.extractor=mini has its weights in the package"
            raise not_allowed("task.extractor_weights", self.extractor_weights, allowed)
        return self


TaskConfig = Annotated[
    ClassificationConfig | GenerationConfig | EfficiencyConfig,
    Field(discriminator="name", description="classification, generation or efficiency"),
]
"""All tasks there are."""
