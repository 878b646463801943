"""What a run is: frozen, validated settings, with no default of their own.

The defaults live in `configs/`, once, each beside its range and its place in the paper.  The models
here hold what is *allowed*: types, ranges and which settings go together.  The description of a
field is the sentence that a user reads after `allowed:` when the value is wrong.
"""

from bigain.config.backbone import (
    BackboneConfig,
    HubBackboneConfig,
    MiniBackboneConfig,
    SitesConfig,
)
from bigain.config.base import SETTING_COLUMNS
from bigain.config.dataset import (
    CocoConfig,
    DatasetConfig,
    DatasetSettings,
    FashionMNISTConfig,
    ImageNet1KConfig,
    ImageNet100Config,
    PetsConfig,
)
from bigain.config.messages import format_validation_error
from bigain.config.operator import (
    AlphaSchedule,
    AvgPoolConfig,
    IEKVDConfig,
    LGTMConfig,
    NoneConfig,
    OperatorConfig,
    ToDoConfig,
    ToMeConfig,
)
from bigain.config.run import CacheConfig, PathsConfig, RunConfig, ShardConfig
from bigain.config.task import ClassificationConfig, TaskConfig

__all__ = [
    "SETTING_COLUMNS",
    "AlphaSchedule",
    "AvgPoolConfig",
    "BackboneConfig",
    "CacheConfig",
    "ClassificationConfig",
    "CocoConfig",
    "DatasetConfig",
    "DatasetSettings",
    "FashionMNISTConfig",
    "HubBackboneConfig",
    "IEKVDConfig",
    "ImageNet1KConfig",
    "ImageNet100Config",
    "LGTMConfig",
    "MiniBackboneConfig",
    "NoneConfig",
    "OperatorConfig",
    "PathsConfig",
    "PetsConfig",
    "RunConfig",
    "ShardConfig",
    "SitesConfig",
    "TaskConfig",
    "ToDoConfig",
    "ToMeConfig",
    "format_validation_error",
]
