"""From the settings of an operator to the object, and whether it has a place in the backbone.

The YAML of an operator names its class (`_target_`); its other settings are the class's arguments,
and the class alone knows what they may be.  `check_operator` asks it before a run starts.
"""

from typing import Any

from bigain.config import OperatorConfig, RunConfig
from bigain.config.base import import_target
from bigain.errors import UserError
from bigain.operators import Calibrated, Compression, KeyValueReducer, SharedPlan
from bigain.operators.shared_plan import PLANS
from bigain.operators.validation import check_choice
from bigain.patching.selection import SiteSelection

__all__ = ["build_operator", "build_sites", "check_operator"]


def build_operator(config: OperatorConfig) -> Compression:
    """The operator with these settings.

    Raises:
        UserError: There is no such class, or it refuses a setting.

    """
    make = _imported(config)
    try:
        operator = make(**{key: _hashable(value) for key, value in config.arguments.items()})
    except UserError as error:
        raise UserError(f"operator.{error}") from error
    except TypeError as error:
        given = ", ".join(f"operator.{key}" for key in config.arguments)
        raise UserError(f"{given}: allowed: what {config.target} takes ({error})") from error
    if not isinstance(operator, Compression):
        raise UserError(
            f"operator._target_={config.target}: allowed: a class or function that makes a "
            "bigain.operators.Compression"
        )
    return _planned(operator, config.plan)


def build_sites(config: RunConfig) -> SiteSelection:
    """Where the operator acts: the backbone's blocks, and the operator's scope inside them."""
    sites, scope = config.backbone.sites, config.operator.scope
    return SiteSelection(stages=sites.stages, levels=sites.levels, blocks=sites.blocks, scope=scope)


def check_operator(config: RunConfig) -> None:
    """Make sure that the operator of a run can be built and has a place in its backbone.

    Looks at settings alone: no model is made, nothing is read.

    Raises:
        UserError: A setting is not allowed; the line names its key, its value and what is allowed.

    """
    operator, name = build_operator(config.operator), config.operator.name
    if config.backbone.architecture.is_joint and not config.operator.is_baseline:
        _check_joint(config, operator)
    if isinstance(operator, Calibrated):
        _check_split(config)
        return
    _check_scope(config, operator)
    side = config.backbone.smallest_grid()
    is_flat = config.backbone.architecture.blocks is not None
    for stage in ("transformer",) if is_flat else config.backbone.sites.stages:
        acting = operator.for_stage(stage)
        if acting is None and is_flat:
            raise UserError(
                f"operator={name}: allowed: on a backbone with encoder and decoder, such as "
                f"mini_unet or sd20, because backbone={config.backbone.name} has neither"
            )
        if acting is None:
            stages = ",".join(config.backbone.sites.stages)
            raise UserError(
                f"backbone.sites.stages=[{stages}]: allowed: encoder, decoder, because "
                f"operator={name} has nothing for stage {stage}"
            )
        try:
            acting.num_kept((side, side))
        except UserError as error:
            raise UserError(f"operator.{error} of backbone={config.backbone.name}") from error


def _check_split(config: RunConfig) -> None:
    dataset = config.dataset
    if config.operator.trains_apart and dataset.kind.training_split is None:
        raise UserError(
            "operator.split=training: allowed: evaluated, because no training split of "
            f"dataset={dataset.name} is read"
        )


def _check_joint(config: RunConfig, operator: Compression) -> None:
    """Joint attention: merging of image tokens, where these have no places in the attention."""
    name, backbone = config.operator.name, config.backbone
    is_packed = backbone.architecture.is_packed
    if isinstance(operator, Calibrated):
        allowed = "none" if is_packed else "one that merges tokens, such as tome or lgtm"
        raise UserError(
            f"operator={name}: allowed: {allowed}, because backbone={backbone.name} has blocks of "
            "image and text, which it does not prune"
        )
    if is_packed:
        raise UserError(
            f"operator={name}: allowed: none, because backbone={backbone.name} turns queries and "
            "keys by one table of places for all samples, and a plan differs by sample"
        )
    if isinstance(operator.for_stage("transformer"), KeyValueReducer):
        raise UserError(
            f"operator={name}: allowed: one that merges tokens, such as tome or lgtm, because "
            f"backbone={backbone.name} has keys of image and text in one attention"
        )


def _planned(operator: Compression, plan: str) -> Compression:
    try:
        check_choice("plan", plan, PLANS)
        return SharedPlan(operator) if plan == "shared" else operator
    except UserError as error:
        raise UserError(f"operator.{error}") from error


def _hashable(value: Any) -> Any:
    """A list as a tuple, since operators are frozen."""
    return tuple(value) if isinstance(value, list) else value


def _imported(config: OperatorConfig) -> Any:
    try:
        return import_target(config.target)
    except (ImportError, AttributeError) as error:
        allowed = f"the class of an operator that can be imported ({error})"
        raise UserError(f"operator._target_={config.target}: allowed: {allowed}") from error


def _check_scope(config: RunConfig, operator: Compression) -> None:
    try:
        parts = build_sites(config).parts
    except UserError as error:
        raise UserError(f"operator.{error}") from error
    stages = ("encoder", "decoder", "transformer")
    reduces_keys = any(isinstance(operator.for_stage(each), KeyValueReducer) for each in stages)
    if reduces_keys and parts != ("self",):
        raise UserError(
            f"operator.scope={config.operator.scope}: allowed: self, because "
            f"operator={config.operator.name} reduces keys and values of the image's own tokens"
        )
    if "cross" in parts and not config.backbone.architecture.has_cross_attention:
        raise UserError(
            f"operator.scope={config.operator.scope}: allowed: self or self+mlp, because "
            f"backbone={config.backbone.name} has no cross-attention"
        )
