"""Draw the pictures of docs/operators.md: `python scripts/operator_figures.py [FOLDER]`.

Each shows the plan of one forward of the shipped mini U-Net on a Fashion-MNIST test image.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.engine import build
from bigain.errors import in_one_line
from bigain.launch.compose import compose_config
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    KVSelect,
    SiTo,
    ToDo,
    ToMe,
)
from bigain.operators.downsampling import ALIGNMENTS
from bigain.tasks.operator_pictures import Subplot, draw_rows, operator_subplots, score_subplots
from bigain.tasks.token_maps import TokenMap, token_maps

IMAGE, TIMESTEP = 17, 100
FOLDER = Path(__file__).parents[1] / "docs" / "images"
OPERATORS: dict[str, Compression] = {
    "tome": ToMe(0.5),
    "lgtm": LGTM(0.5),
    "cached": CachedAssignment(0.5),
    "abm": ABM(0.5),
    "sito": SiTo(0.5),
    "kv_select": KVSelect(0.75),
    "hybrid": ByStage(encoder=LGTM(0.5), decoder=IEKVD(2, alpha=0.9)),
}


class Scene:
    """One image, one backbone, one timestep."""

    def __init__(self, backbone: str = "mini_unet", number: int = IMAGE) -> None:
        config = compose_config([f"backbone={backbone}", "dataset.limit=1000"])
        sample = build.build_dataset(config.dataset)[number]
        self.image: npt.NDArray[np.uint8] = np.pad(sample.image, 2)
        self.label = sample.labels[0]
        self.backbone: Backbone = build.build_backbone(
            config.backbone, torch.device("cpu"), "float32"
        )
        self.latents: Tensor = self.backbone.encode(sample.image)

    def maps(self, operator: Compression) -> tuple[TokenMap, ...]:
        """What `operator` plans."""
        return token_maps(
            operator, self.backbone, self.latents, label=self.label, timestep=TIMESTEP
        )

    def subplots(self, operator: Compression) -> list[Subplot]:
        """One row: the picture of `operator`."""
        return operator_subplots(self.maps(operator), self.image)


def downsampling(scene: Scene) -> list[list[Subplot]]:
    """Average pooling, IE-KVD and ToDo beside each other; below, what `align` does."""
    _, windows, blended = scene.subplots(IEKVD(2, alpha=0.9))
    average, nearest = scene.subplots(AvgPool(2))[-1], scene.subplots(ToDo(2))[-1]
    aligned = [scene.subplots(IEKVD(3, alpha=0.9, align=align))[1:] for align in ALIGNMENTS]
    return [[windows, average, blended, nearest], [subplot for pair in aligned for subplot in pair]]


def scores(scene: Scene) -> list[list[Subplot]]:
    """The ten scores, four subplots to a row."""
    subplots = score_subplots(scene.maps(LGTM(0.5))[0], scene.image)
    return [subplots[start : start + 4] for start in range(0, len(subplots), 4)]


def pictures(scene: Scene) -> dict[str, list[list[Subplot]]]:
    """Rows of subplots by file name."""
    rows = {f"operators_{name}": [scene.subplots(each)] for name, each in OPERATORS.items()}
    rows["operators_downsampling"] = downsampling(scene)
    return {**rows, "scores": scores(scene)}


def main(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in pictures(Scene()).items():
        draw_rows(folder / f"{name}.png", rows)


if __name__ == "__main__":
    sys.exit(in_one_line(partial(main, Path(sys.argv[1]) if sys.argv[1:] else FOLDER)))
