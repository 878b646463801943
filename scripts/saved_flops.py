"""What a classification by prompts does not compute in each evaluation, counted in FLOPs.

    python scripts/saved_flops.py     # the shares of docs/efficiency.md, in seconds

Counted on the meta device, without an operator: the keys and values that are kept for all prompts
(`bigain.patching.projections`) with the size of their tables in half precision, and what is
computed once for all classes of an (image, timestep) (`bigain.patching.sharing`).
"""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.errors import in_one_line
from bigain.patching.projections import KeptProjections
from bigain.patching.sharing import Sharing, shared_modules
from bigain.tasks.flops import count_model_flops

__all__ = ["forward", "kept", "main", "shared"]

BACKBONES = ("sd20", "sd15", "sdxl")
CLASSES = (37, 200, 1000)
_BATCH = 3


def main() -> int:
    """Print both tables; the exit code."""
    for backbone in BACKBONES:
        total = forward(backbone)
        cells = [
            f"{100 * own / total:.2f} % with {size / 1e9:.2f} GB" for own, size in kept(backbone)
        ]
        print(f"| `{backbone}`, {_giga(total)} | {' | '.join(cells)} |", flush=True)
    for backbone in BACKBONES:
        parts = shared(backbone)
        own, total = sum(parts.values()), forward(backbone)
        print(f"{backbone}: {_giga(own)} of {_giga(total)}, {100 * own / total:.2f} %")
        print("".join(f"    {name} {_giga(count)}\n" for name, count in parts.items()), end="")
    return 0


@cache
def forward(backbone: str) -> int:
    """FLOPs of a forward at batch 1."""
    return _total(*_model(backbone))


def kept(backbone: str) -> Iterator[tuple[int, int]]:
    """(FLOPs that a forward is spared, bytes of all tables) for each number of `CLASSES`.

    The empty prompt has a row in the tables, too.
    """
    total, (model, inputs) = forward(backbone), _model(backbone)
    for classes in CLASSES:
        context = inputs["encoder_hidden_states"].expand(classes + 1, -1, -1)
        with KeptProjections(model, context) as tables:
            with tables.of(torch.zeros(1, dtype=torch.int64, device="meta")):
                spared = total - _total(model, inputs)
            size = sum(each.nbytes for name, each in model.named_buffers() if "outputs" in name)
        yield spared, size


def shared(backbone: str) -> dict[str, int]:
    """FLOPs of each module that is computed once for all classes; their sum is checked.

    Raises:
        RuntimeError: A forward of several classes is not cheaper by these.

    """
    model, inputs = _model(backbone, _BATCH)
    names = [name for name, _ in shared_modules(model)]
    if not names:
        return {}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    counts, top = counter.get_flop_counts(), type(model).__name__
    parts = {name: sum(counts[f"{top}.{name}"].values()) // _BATCH for name in names}
    groups, times = torch.zeros(_BATCH, dtype=torch.int64), torch.full((_BATCH,), 999)
    with Sharing(model) as sharing, sharing.rows(groups, times):
        spared = counter.get_total_flops() - _total(model, inputs)
    if spared != (_BATCH - 1) * sum(parts.values()):
        raise RuntimeError(f"{backbone}: {spared} FLOPs are spared, not those of {names}")
    return parts


@cache
def _denoiser(backbone: str) -> nn.Module:
    return build_denoiser(backbone, "meta").half()


def _model(backbone: str, batch: int = 1) -> tuple[nn.Module, dict[str, Any]]:
    return _denoiser(backbone), example_inputs(backbone, batch, "meta", torch.float16)


def _total(model: nn.Module, inputs: Mapping[str, Any]) -> int:
    return count_model_flops(model, inputs).total


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f} G"


if __name__ == "__main__":
    sys.exit(in_one_line(main))
