"""What settings are allowed: frozen pydantic models, without torch.

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
    FashionMosaicConfig,
    ImageNet1KConfig,
    ImageNet100Config,
    PetsConfig,
)
from bigain.config.messages import format_validation_error
from bigain.config.operator import (
    ABMConfig,
    AvgPoolConfig,
    CachedConfig,
    CustomConfig,
    EncoderIEKVDConfig,
    EncoderLGTMConfig,
    IEKVDConfig,
    KVSelectConfig,
    LGTMConfig,
    NoneConfig,
    OperatorConfig,
    SiToConfig,
    ToDoConfig,
    ToMeConfig,
)
from bigain.config.operator_base import AlphaSchedule, OperatorSettings
from bigain.config.run import CacheConfig, PathsConfig, RunConfig, ShardConfig, TrackingConfig
from bigain.config.task import (
    ClassificationConfig,
    EfficiencyConfig,
    GenerationConfig,
    TaskConfig,
)

__all__ = [
    "SETTING_COLUMNS",
    "ABMConfig",
    "AlphaSchedule",
    "AvgPoolConfig",
    "BackboneConfig",
    "CacheConfig",
    "CachedConfig",
    "ClassificationConfig",
    "CocoConfig",
    "CustomConfig",
    "DatasetConfig",
    "DatasetSettings",
    "EfficiencyConfig",
    "EncoderIEKVDConfig",
    "EncoderLGTMConfig",
    "FashionMNISTConfig",
    "FashionMosaicConfig",
    "GenerationConfig",
    "HubBackboneConfig",
    "IEKVDConfig",
    "ImageNet1KConfig",
    "ImageNet100Config",
    "KVSelectConfig",
    "LGTMConfig",
    "MiniBackboneConfig",
    "NoneConfig",
    "OperatorConfig",
    "OperatorSettings",
    "PathsConfig",
    "PetsConfig",
    "RunConfig",
    "ShardConfig",
    "SiToConfig",
    "SitesConfig",
    "TaskConfig",
    "ToDoConfig",
    "ToMeConfig",
    "TrackingConfig",
    "format_validation_error",
]
