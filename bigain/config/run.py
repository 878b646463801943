"""The whole of a run: model, data, operator and task, and how to execute them.

`RunConfig` also knows which settings exclude each other although each is fine by itself.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from bigain.config.backbone import BackboneConfig
from bigain.config.base import Folder, Integer, Number, Settings, Switch, not_allowed
from bigain.config.dataset import DatasetConfig
from bigain.config.operator import OperatorConfig
from bigain.config.task import (
    ClassificationConfig,
    EfficiencyConfig,
    GenerationConfig,
    TaskConfig,
)
from bigain.config.tracking import Tracking

__all__ = ["CacheConfig", "PathsConfig", "RunConfig", "ShardConfig"]

_TASKS_WITH_IMAGES = ("classification", "generation")

_DRAWS_OF_A_BATCH = {
    "per_forward": "images of a batch share a draw",
    "per_sample": "the rounding of latents in a batch changes a draw",
}
"""`operator.draws` -> why images of a batch would not have the draws that each has alone."""

Task = TypeVar("Task", bound=Settings)
Index = Annotated[Integer, Field(ge=0)]
Positive = Annotated[Integer, Field(ge=1)]


class ShardConfig(Settings):
    """The part of the images that this process takes: position % count == index."""

    index: Index = Field(description="an integer from 0 to shard.count - 1")
    count: Positive = Field(description="an integer >= 1")

    @model_validator(mode="after")
    def _index_is_a_shard(self) -> Self:
        if self.index >= self.count:
            allowed = f"an integer from 0 to {self.count - 1}, because shard.count={self.count}"
            raise not_allowed("shard.index", self.index, allowed)
        return self


class CacheConfig(Settings):
    """What is kept on disk between runs because it is dear to compute; changes no result."""

    latents: Switch = Field(description="true or false (compute the latents of images every time)")
    prompts: Switch = Field(description="true or false (encode the prompts every time)")
    gigabytes: Number = Field(gt=0, description="a number > 0, the most that each may hold")


class PathsConfig(Settings):
    """Where files are read and written."""

    results: Folder = Field(description="a folder")
    data: Folder | None = Field(description="null (search the usual places) or a folder")
    cache: Folder = Field(description="a folder")


class RunConfig(Settings):
    """One run.  Raises pydantic's ValidationError; `bigain.launch` turns it into one line."""

    profile: Literal["mini", "paper"] = Field(description="mini or paper")
    backbone: BackboneConfig
    dataset: DatasetConfig = Field(description="the settings limit and root of a dataset")
    operator: OperatorConfig = Field(description="an option of configs/operator and its settings")
    task: TaskConfig
    seed: Integer = Field(ge=0, lt=2**32, description="an integer from 0 to 2**32 - 1")
    batch_size: Positive | Literal["auto"] = Field(
        description="an integer >= 1 or auto (the fastest on this machine, measured once)"
    )
    device: str = Field(
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="float32, bfloat16 or float16"
    )
    compile: Switch = Field(description="true or false")
    threads: Positive | None = Field(
        description="null (1 on a mini backbone, else by the cores) or an integer >= 1"
    )
    shard: ShardConfig = Field(description="the settings index and count")
    tracking: Tracking = Field(description="none, wandb, trackio or [wandb,trackio]")
    force: Switch = Field(description="true or false")
    on_error: Literal["continue", "stop"] = Field(description="continue or stop")
    cache: CacheConfig = Field(description="the settings latents, prompts and gigabytes")
    paths: PathsConfig = Field(description="the settings results, data and cache")

    def task_as(self, kind: type[Task]) -> Task:
        """The settings of the task, for what serves tasks of this kind alone."""
        if not isinstance(self.task, kind):
            raise TypeError(f"task={self.task.name}: is no {kind.__name__}")
        return self.task

    @property
    def named_batch_size(self) -> int:
        """`batch_size` where it is part of the run's name, which `auto` cannot be."""
        if self.batch_size == "auto":
            raise TypeError("batch_size=auto: has no number before it is measured")
        return self.batch_size

    @property
    def has_name(self) -> bool:
        """Whether all settings of its name are known; not with `task.images_per_forward=auto`."""
        task = self.task
        return not isinstance(task, GenerationConfig) or task.images_per_forward != "auto"

    @property
    def title(self) -> str:
        """The run in a few words, e.g. `mini_dit lgtm ratio=0.7 score=laplacian_l1`."""
        return f"{self.backbone.name} {self.operator.title}"

    def shown_in(self, group: str | None, tags: Sequence[str] = ()) -> Self:
        """The same run, which trackers put into `group` (unless it has one) and tag with `tags`."""
        own = self.tracking
        if not own.trackers:
            return self
        shown = {"group": own.group or group, "tags": tuple(dict.fromkeys([*own.tags, *tags]))}
        return self.model_copy(update={"tracking": own.model_copy(update=shown)})

    @property
    def needs_images(self) -> bool:
        """Whether the task reads a dataset and trained weights; FLOPs and time need neither."""
        return self.task.name in _TASKS_WITH_IMAGES

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        if self.profile == "paper" and self.backbone.is_mini:
            allowed = f"mini, because backbone={self.backbone.name} is not one of the paper's"
            raise not_allowed("profile", "paper", f"{allowed} (sd20, dit_xl2_512, sd15, sdxl)")
        if self.needs_images and self.dataset.is_known:
            self._check_dataset()
        if isinstance(self.task, GenerationConfig) and self.backbone.architecture.is_flow:
            allowed = f"classification or efficiency, because backbone={self.backbone.name} "
            allowed = f"{allowed}predicts a velocity, for which there is no sampler here"
            raise not_allowed("task", "generation", allowed)
        if isinstance(self.task, GenerationConfig):
            self._check_draws(self.task)
        if self.operator.shares_plans:
            self._check_plans()
        if isinstance(self.task, ClassificationConfig) and self.task.is_race:
            self._check_race()
        if self.operator.is_calibrated:
            self._check_calibrated()
        if isinstance(self.task, EfficiencyConfig):
            self._check_timing(self.task)
        if isinstance(self.task, ClassificationConfig) and self.operator.draws_per_forward:
            self._check_number("operator.draws=per_forward draws once for each batch")
        return self

    def _check_number(self, why: str) -> None:
        if self.batch_size == "auto":
            raise not_allowed("batch_size", "auto", f"an integer >= 1, because {why}")

    def _check_timing(self, task: EfficiencyConfig) -> None:
        if task.measure == "flops" and self.operator.draws != "paired":
            allowed = "paired, because task.measure=flops is the same for all draws"
            raise not_allowed("operator.draws", self.operator.draws, allowed)
        if self.shard.count > 1:
            allowed = "1, because task=efficiency times all its repeats in one process"
            raise not_allowed("shard.count", self.shard.count, allowed)
        if "time" not in task.measures:
            return
        self._check_number("task=efficiency times batches of this size")
        if self.compile:
            allowed = "false, because task=efficiency times the modules as they are"
            raise not_allowed("compile", "true", allowed)

    def _check_dataset(self) -> None:
        self.backbone.check_dataset(self.dataset)
        if isinstance(self.task, GenerationConfig):
            self._check_conditions()
            self._check_reference(self.task)
        if isinstance(self.task, ClassificationConfig):
            self._check_classes("task.keep_list", list(self.task.keep_list))
            if self.task.is_race and self.task.of_race.stages is not None:
                self._check_stages(self.task.of_race.stages[0][1], self.task.of_race.typed_stages)

    def _check_conditions(self) -> None:
        if not self.dataset.facts.generates:
            allowed = "a dataset whose images have one class or a caption each, such as "
            allowed = f"{allowed}fashion_mnist, because task=generation draws an image of it"
            raise not_allowed("dataset", self.dataset.name, allowed)

    def _check_reference(self, task: GenerationConfig) -> None:
        name, facts = self.dataset.name, self.dataset.facts
        if task.statistics is None and task.reference not in facts.references:
            allowed = f"{' or '.join(facts.references)}, the references of dataset={name}"
            raise not_allowed("task.reference", task.reference, allowed)
        if task.extractor == "mini" and "fashion" not in self.dataset.label_spaces:
            allowed = f"inception, because mini has seen nothing of dataset={name}"
            raise not_allowed("task.extractor", "mini", allowed)
        if self.dataset.limit is not None and self.dataset.limit < 2:
            raise not_allowed(
                "dataset.limit", self.dataset.limit, "at least 2 with task=generation"
            )

    def _check_draws(self, task: GenerationConfig) -> None:
        """Which images share a batch depends on shards and resumes; a draw must not depend on it.

        From the second step on, latents have the rounding of the batch that they were computed in.
        """
        draws = self.operator.draws
        if draws in _DRAWS_OF_A_BATCH and task.images_per_forward != 1:
            allowed = f"1, because with operator.draws={draws} {_DRAWS_OF_A_BATCH[draws]}"
            raise not_allowed("task.images_per_forward", task.images_per_forward, allowed)

    def _check_plans(self) -> None:
        """One plan for several rows needs these rows in one forward."""
        task, allowed = self.task, ""
        if isinstance(task, GenerationConfig) and task.guidance_scale == 1:
            allowed = "with task.guidance_scale=1 a forward has one row of an image"
        if isinstance(task, EfficiencyConfig):
            allowed = f"task.measure={task.measure} has no rows that are classes of one image"
        if isinstance(task, ClassificationConfig) and task.is_race:
            allowed = "in a race the classes that are left would change the errors of the others"
        if allowed:
            raise not_allowed("operator.plan", "shared", f"each_class, because {allowed}")
        if isinstance(task, ClassificationConfig):
            self._check_room()

    def _check_room(self) -> None:
        """All classes of an image fit into a batch, whose size is a number."""
        classes = self.dataset.facts.num_classes if self.dataset.is_known else 0
        if not classes:
            self._check_number("operator.plan=shared needs room for all classes of an image")
        elif self.batch_size == "auto" or self.batch_size < classes:
            allowed = f"at least {classes}, the number of classes of dataset={self.dataset.name}, "
            allowed = f"{allowed}which with operator.plan=shared are in one batch"
            raise not_allowed("batch_size", self.batch_size, allowed)

    def _check_race(self) -> None:
        """The calibration has other batches than the run; code is compiled for one shape."""
        if self.compile:
            allowed = "false or task.allocation=staged, because a race has batches of many shapes"
            raise not_allowed("compile", "true", allowed)
        if self.operator.draws_per_forward:
            allowed = "staged, because with operator.draws=per_forward a batch shares a draw"
            raise not_allowed("task.allocation", "racing", allowed)

    def _check_calibrated(self) -> None:
        """What was calibrated for the evaluations of a staged classification is used for these."""
        task, name = self.task, self.operator.name
        because = f"because operator={name} is calibrated for a staged classification"
        if isinstance(task, GenerationConfig):
            raise not_allowed("task", task.name, f"classification or efficiency, {because}")
        if isinstance(task, EfficiencyConfig) and task.measure != "flops":
            raise not_allowed("task.measure", task.measure, f"flops, {because}")
        if self.compile:
            allowed = f"false, because operator={name} calls other modules at other timesteps"
            raise not_allowed("compile", "true", allowed)
        if isinstance(task, ClassificationConfig):
            if task.is_race:
                raise not_allowed("task.allocation", "racing", f"staged, {because}")
            for key in ("trial_list", "keep_list"):
                self._check_of_task(key, list(getattr(task, key)))

    def _check_of_task(self, key: str, of_task: list[int]) -> None:
        """The operator's copy of a setting of the task, which is its default, is no other."""
        own = (self.operator.model_extra or {}).get(key, of_task)
        if own != of_task:
            shown = str(of_task).replace(" ", "")
            raise not_allowed(f"operator.{key}", own, f"{shown}, that of task.{key}")

    def _check_stages(self, kept: int, shown: str) -> None:
        """The first stage of a race drops a class; of one's own few, see `_check_classes`."""
        classes = self.dataset.facts.num_classes
        if kept >= classes and not self.dataset.kind.is_own:
            allowed = f"at most {classes - 1} classes kept, fewer than the {classes} of "
            raise not_allowed("task.race.stages", shown, f"{allowed}dataset={self.dataset.name}")

    def _check_classes(self, key: str, keep: list[int]) -> None:
        classes = self.dataset.facts.num_classes
        if classes < 2:
            place = "root" if self.dataset.labels is None else "labels"
            found = self.dataset.facts.found
            allowed = f"at least two classes with task=classification; here are {found}"
            raise not_allowed(f"dataset.{place}", getattr(self.dataset, place), allowed)
        # The published lists are for many classes; of one's own few, a stage then keeps all.
        if keep[0] > classes and not self.dataset.kind.is_own:
            allowed = f"at most {classes}, the number of classes of dataset={self.dataset.name}"
            raise not_allowed(key, keep, allowed)
