"""How much a setting of the released code changes one forward of a mini backbone.

    python scripts/released_sizes.py [IMAGES]     # the "output" sizes of docs/operators.md

For each pair of operators: the relative l2 difference of the predicted noise, its mean over the
first IMAGES (default 100) images of the fixed order with a 95 % interval.  Each image has its own
noise, and all pairs see the same.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from bigain.engine.build import build_backbone, build_dataset
from bigain.errors import UserError, in_one_line
from bigain.launch.compose import compose_config
from bigain.metrics import mean_interval
from bigain.operators import ABM, IEKVD, LGTM, Identity, Operator, ToDo
from bigain.patching.apply import apply
from bigain.tasks.batches import keyed_noise

TIMESTEP = 525
ALPHA = {"mini_unet": 0.9, "mini_dit": 0.0}
Pair = tuple[str, int, Operator, Operator]


def pairs(alpha: float) -> list[Pair]:
    """(what, timestep, one setting, the other); the difference is relative to the other."""
    released = LGTM(0.7, destinations="as_released")
    return [
        ("lgtm / none", TIMESTEP, LGTM(0.7), Identity()),
        ("lgtm as_released / eq7", TIMESTEP, released, LGTM(0.7)),
        ("lgtm protect_ratio 0.05 / 0", TIMESTEP, LGTM(0.7, protect_ratio=0.05), LGTM(0.7)),
        ("abm sum / max", TIMESTEP, ABM(0.7, aggregate="sum"), ABM(0.7)),
        ("ie_kvd 6x window / reference", TIMESTEP, IEKVD(6, alpha, "window"), IEKVD(6, alpha)),
        ("todo 2x skipped / applied at t = 0", 0, Identity(), ToDo(2)),
    ]


def forward_of(name: str, images: int) -> Callable[[Operator, int], Tensor]:
    """(operator, timestep) -> predicted noise (B, C, H, W) of the backbone `name`."""
    config = compose_config([f"backbone={name}", f"dataset.limit={images}"])
    backbone = build_backbone(config.backbone, torch.device("cpu"), config.dtype)
    samples = [build_dataset(config.dataset)[position] for position in range(images)]
    latents = torch.cat([backbone.encode(sample.image) for sample in samples])
    labels = torch.tensor([sample.label for sample in samples])
    shape = tuple(latents[:1].shape)
    noise = torch.cat([keyed_noise(0, "size", at, shape=shape) for at in range(images)])

    def predict(operator: Operator, timestep: int) -> Tensor:
        kept = backbone.schedule.alphas_cumprod[timestep]
        noisy = kept.sqrt().float() * latents + (1 - kept).sqrt().float() * noise
        with torch.inference_mode(), apply(backbone.denoiser, operator):
            return backbone.predict_noise(noisy, torch.full((images,), timestep), labels)

    return predict


def main() -> None:
    """Print one line for each backbone and pair."""
    torch.set_num_threads(1)
    given = sys.argv[1] if len(sys.argv) > 1 else "100"
    if not given.isdecimal() or int(given) < 2:
        raise UserError(f"{given}: allowed: a number of images, at least 2")
    images = int(given)
    for name, alpha in ALPHA.items():
        predict = forward_of(name, images)
        for what, timestep, first, second in pairs(alpha):
            one, other = predict(first, timestep), predict(second, timestep)
            share = (one - other).flatten(1).norm(dim=1) / other.flatten(1).norm(dim=1)
            low, high = mean_interval(share.numpy())
            mean = float(share.mean())
            print(f"{name}  {what}: {100 * mean:.2f} % [{100 * low:.2f}, {100 * high:.2f}]")


if __name__ == "__main__":
    sys.exit(in_one_line(main))
