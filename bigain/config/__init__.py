"""What settings are allowed: frozen pydantic models, without torch.

The defaults live in `configs/`, once, each beside its range and its place in the paper.  The models
here hold what is *allowed*: types, ranges and which settings go together.  The description of a
field is the sentence that a user reads after `allowed:` when the value is wrong.
"""

from bigain.config.backbone import (
    BACKBONE_TITLES,
    BackboneConfig,
    FlowConfig,
    FluxDevConfig,
    HubBackboneConfig,
    MiniBackboneConfig,
)
from bigain.config.base import NEUTRAL, SETTING_COLUMNS
from bigain.config.dataset import DatasetConfig, DatasetFacts
from bigain.config.messages import format_validation_error
from bigain.config.operator import OperatorConfig, other_settings, setting_cell
from bigain.config.run import CacheConfig, PathsConfig, RunConfig, ShardConfig
from bigain.config.sites import SitesConfig
from bigain.config.task import (
    ClassificationConfig,
    EfficiencyConfig,
    GenerationConfig,
    RaceConfig,
    TaskConfig,
)
from bigain.config.tracking import TrackerConfig, TrackingConfig

__all__ = [
    "BACKBONE_TITLES",
    "NEUTRAL",
    "SETTING_COLUMNS",
    "BackboneConfig",
    "CacheConfig",
    "ClassificationConfig",
    "DatasetConfig",
    "DatasetFacts",
    "EfficiencyConfig",
    "FlowConfig",
    "FluxDevConfig",
    "GenerationConfig",
    "HubBackboneConfig",
    "MiniBackboneConfig",
    "OperatorConfig",
    "PathsConfig",
    "RaceConfig",
    "RunConfig",
    "ShardConfig",
    "SitesConfig",
    "TaskConfig",
    "TrackerConfig",
    "TrackingConfig",
    "format_validation_error",
    "other_settings",
    "setting_cell",
]
