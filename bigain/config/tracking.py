"""Trackers: pages that show a run while it works.  They never change a result.

`tracking=wandb` chooses `configs/tracking/wandb.yaml`; `tracking=[wandb,trackio]` has both.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from bigain.config.base import Settings, not_allowed

__all__ = ["TrackerConfig", "Tracking", "TrackingConfig"]

_LONGEST_TAG = 64
"""W&B refuses a run with an empty or a longer tag."""

_Tag = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_TAG)]


class TrackerConfig(Settings):
    """One tracker: the class whose objects are its sinks (`bigain.tracking.sink.Sink`)."""

    target: str = Field(
        alias="_target_", description="the class of the tracker, package.module.Name"
    )


class TrackingConfig(Settings):
    """The trackers of a run, and what all of them are told."""

    trackers: dict[str, TrackerConfig] = Field(
        description="those of tracking=none, wandb, trackio or [wandb,trackio]"
    )
    mode: Literal["online", "offline", "disabled"] | None = Field(
        description="null (WANDB_MODE, or online), online, offline (files only) or disabled"
    )
    project: str | None = Field(
        min_length=1, description="null (WANDB_PROJECT, or bigain) or a name"
    )
    entity: str | None = Field(min_length=1, description="null (your own) or a team of W&B")
    group: str | None = Field(
        min_length=1,
        description="null (WANDB_RUN_GROUP, or the sweep that makes the run) or a name",
    )
    tags: tuple[_Tag, ...] = Field(
        description=f"a list of words of 1 to {_LONGEST_TAG} characters, such as [mine]"
    )

    @model_validator(mode="after")
    def _someone_is_told(self) -> Self:
        for key in ("mode", "project", "entity", "group", "tags"):
            value = getattr(self, key)
            if not self.trackers and value:
                allowed = "only with a tracker, such as tracking=wandb"
                raise not_allowed(f"tracking.{key}", value, allowed)
        if self.entity and set(self.trackers) == {"trackio"}:
            raise not_allowed("tracking.entity", self.entity, "null, because Trackio has no teams")
        return self


def _from_name(value: Any) -> Any:
    """Manifests of earlier versions hold a name: `none`, or `{name: none}`."""
    older = value.get("name") if isinstance(value, dict) else value
    if older != "none":
        return value
    return {"trackers": {}, "tags": [], **dict.fromkeys(("mode", "project", "entity", "group"))}


Tracking = Annotated[TrackingConfig, BeforeValidator(_from_name)]
