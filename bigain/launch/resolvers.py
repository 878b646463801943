"""What `${...}` in the files of `configs/` may ask for beside Hydra's own resolvers."""

import os
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bigain.machine import has_gpu

__all__ = ["register_resolvers"]


def register_resolvers() -> None:
    """Make them known to OmegaConf; again changes nothing."""
    OmegaConf.register_new_resolver("for_dataset", _for_dataset, replace=True)
    OmegaConf.register_new_resolver("for_task", _for_task, replace=True)
    OmegaConf.register_new_resolver("for_rule", _for_rule, replace=True)
    OmegaConf.register_new_resolver("on_gpu", _on_gpu, replace=True)
    OmegaConf.register_new_resolver("unless_cpu", _unless_cpu, replace=True)
    OmegaConf.register_new_resolver("from_env", _from_env, replace=True)
    OmegaConf.register_new_resolver("unless_chosen", _unless_chosen, replace=True)


def _for_dataset(table: Mapping[str, Any], otherwise: Any, *, _root_: DictConfig) -> Any:
    """`${for_dataset:{imagenet1k:[50,10,1]},[5,1]}`: the dataset's entry, or the default."""
    return _plain_or_node(table.get(OmegaConf.select(_root_, "dataset.name"), otherwise))


def _for_task(table: Mapping[str, Any], otherwise: Any, *, _root_: DictConfig) -> Any:
    """`${for_task:{efficiency:4},32}`: the task's entry, or the default."""
    return _plain_or_node(table.get(OmegaConf.select(_root_, "task.name"), otherwise))


def _for_rule(table: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """`${for_rule:{gaussian:2.54}}`: the entry of the rule of a race; null for the others."""
    return _plain_or_node(table.get(OmegaConf.select(_root_, "task.race.rule")))


def _unless_chosen(value: Any, *, _root_: DictConfig) -> Any:
    """`${unless_chosen:400}`: null if the images are the user's choice, who wants all of them."""
    is_own = OmegaConf.select(_root_, "dataset.name") == "folder"
    return None if is_own or OmegaConf.select(_root_, "dataset.index") else value


def _on_gpu(gpu: Any, otherwise: Any, *, _root_: DictConfig) -> Any:
    """`${on_gpu:1,null}`: the first value if the run computes on a GPU of this machine."""
    device = OmegaConf.select(_root_, "device")
    return otherwise if device == "cpu" or (device == "auto" and not has_gpu()) else gpu


def _unless_cpu(gpu: Any, otherwise: Any, *, _root_: DictConfig) -> Any:
    """`${unless_cpu:1,null}`: the first value unless device=cpu; nodes may differ from this one."""
    return otherwise if OmegaConf.select(_root_, "device") == "cpu" else gpu


def _from_env(name: str) -> str | None:
    """`${from_env:WANDB_RUN_GROUP}`: null if the variable is not set or empty."""
    return os.environ.get(name) or None


def _plain_or_node(entry: Any) -> Any:
    """A resolver may return plain values, but lists and mappings only as nodes."""
    return OmegaConf.create(entry) if isinstance(entry, list | dict) else entry
