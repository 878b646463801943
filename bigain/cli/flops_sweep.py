"""Which operators, settings and sites `bigain flops` counts, and what the paper prints for them.

The sweep is that of the paper's tables: merging at ratios 0.1-0.7, key/value downsampling by 2-8,
and of a flat transformer also the first 12/28 of its blocks beside its default ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bigain.config.architectures import ARCHITECTURES
from bigain.config.paper import load_paper
from bigain.patching.selection import default_blocks, first_share

__all__ = ["DEFAULT", "Setting", "published_flops", "sweep"]

DEFAULT = "default"
"""Name of the sites that a backbone's configuration selects."""

_RATIOS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7")
_FACTORS = ("2", "3", "4", "5", "6", "7", "8")
_MERGING = ("tome", "lgtm", "cached", "abm", "sito")
_DOWNSAMPLING = ("todo", "avg_pool", "ie_kvd")
_HYBRIDS = ("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec")

_PAPERS_RATIO = "ratio=0.7"
"""Whose FLOPs Tables 7 and 11 print for mergers without naming a ratio."""


@dataclass(frozen=True)
class Setting:
    """One row: an operator with its settings, as `normal_setting` writes them.

    Attributes:
        operator: id in the configuration.
        setting: its settings, separated by semicolons; empty for none.
        blocks: `default` (as the backbone's configuration says), or what `backbone.sites.blocks` is
            set to.

    """

    operator: str
    setting: str = ""
    blocks: str = DEFAULT

    def overrides(self, backbone: str) -> list[str]:
        """What `python -m bigain` needs to count it."""
        settings = [f"operator.{each}" for each in self.setting.split(";") if each]
        sites = [] if self.blocks == DEFAULT else [f"backbone.sites.blocks={self.blocks}"]
        common = (f"backbone={backbone}", "task=efficiency", f"operator={self.operator}")
        return [*common, *settings, *sites]


def sweep(backbone: str) -> list[Setting]:
    """The rows for a backbone of the configuration, no acceleration first."""
    depth = ARCHITECTURES[backbone].blocks
    rows = [Setting("none"), *_operators(DEFAULT)]
    if depth is None:
        return [*rows, *(Setting(name, "factor=2;ratio=0.7") for name in _HYBRIDS)]
    differs = default_blocks(depth) != first_share(depth)
    return [*rows, *_operators("first12")] if differs else rows


def published_flops(backbone: str) -> Mapping[tuple[str, str], float]:
    """(operator, setting) -> GFLOPs as the paper prints them (Tables 7, 11 and 18)."""
    printed = {}
    for key, value in load_paper().items():
        if (key.backbone, key.metric) == (backbone, "flops_g") and value.text:
            no_ratio = key.method in _MERGING and not key.setting
            setting = _PAPERS_RATIO if no_ratio else key.setting
            printed[key.method, setting] = float(value.text)
    return printed


def _operators(blocks: str) -> Iterator[Setting]:
    for name in _MERGING:
        yield from (Setting(name, f"ratio={ratio}", blocks) for ratio in _RATIOS)
    for name in _DOWNSAMPLING:
        yield from (Setting(name, f"factor={factor}", blocks) for factor in _FACTORS)
    yield Setting("kv_select", "sparsity=0.75", blocks)
