"""`bigain demo`: five operators on both mini backbones and a few shipped images, in minutes.

The demo is an ordinary sweep with small settings: it composes configurations, runs them through the
runner into `<results>/demo`, reads the run folders back and prints them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bigain.compose import compose_config
from bigain.config import RunConfig
from bigain.metrics import paired_accuracy, wilson
from bigain.runner import RunOutcome, run
from bigain.runs.frames import read_metrics, read_samples

__all__ = ["BACKBONES", "OPERATORS", "demo_configs", "main"]

BACKBONES = ("mini_dit", "mini_unet")
OPERATORS: dict[str, tuple[str, ...]] = {
    "none": ("operator=none",),
    "ToMe 0.7": ("operator=tome", "operator.ratio=0.7"),
    "L-GTM 0.7": ("operator=lgtm", "operator.ratio=0.7"),
    "ToDo 2x": ("operator=todo", "operator.factor=2"),
    "IE-KVD 2x": ("operator=ie_kvd", "operator.factor=2"),
}
_PROTOCOL = ("task.trial_list=[5,10]", "task.keep_list=[5,1]")
_MAP_TIMESTEP = 325


def demo_configs(images: int, results: Path) -> list[tuple[str, str, RunConfig]]:
    """(backbone, operator as printed, configuration) of every run of the demo, baselines first.

    Raises:
        UserError: `images` is out of range.

    """
    common = (f"dataset.limit={images}", f"paths.results={results}", *_PROTOCOL)
    return [
        (backbone, name, compose_config([f"backbone={backbone}", *overrides, *common]))
        for backbone in BACKBONES
        for name, overrides in OPERATORS.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code.

    Raises:
        UserError: a setting is out of range.

    """
    parser = argparse.ArgumentParser(prog="bigain demo", description=__doc__)
    parser.add_argument("--images", type=int, default=24, help="images to classify (default 24)")
    parser.add_argument("--results", type=Path, default=Path("results/demo"), help="where to write")
    arguments = parser.parse_args(argv)
    console = Console()
    configs = demo_configs(arguments.images, arguments.results)
    console.print(
        f"Classifying {arguments.images} Fashion-MNIST test images with two small diffusion models "
        f"and {len(OPERATORS)} operators each, 75 denoiser evaluations per image."
    )
    outcomes = _run_all(configs, console)
    console.print(_table(configs, outcomes, arguments.images))
    picture = arguments.results / "merge_maps.png"
    _draw(picture)
    console.print(_closing(arguments.images, arguments.results, picture), highlight=False)
    return 0


def _run_all(configs: Sequence[tuple[str, str, RunConfig]], console: Console) -> list[RunOutcome]:
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} runs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    outcomes = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("loading", total=len(configs))
        for backbone, name, config in configs:
            progress.update(task, description=f"{backbone} {name}")
            outcomes.append(run(config))
            progress.advance(task)
    return outcomes


def _table(
    configs: Sequence[tuple[str, str, RunConfig]], outcomes: Sequence[RunOutcome], images: int
) -> Table:
    table = Table(title=f"Diffusion classifier, {images} images, 95 % intervals", box=SIMPLE_HEAD)
    for heading in ("backbone", "operator"):
        table.add_column(heading, no_wrap=True)
    for heading in ("Acc@1 %", "against none", "noise error, %"):
        table.add_column(heading, justify="right", no_wrap=True)
    baseline = pd.DataFrame()
    for (backbone, name, _), outcome in zip(configs, outcomes, strict=True):
        samples = read_samples(outcome.folder)
        if name == "none":
            baseline = samples
            table.add_section()
        table.add_row(backbone, name, *_cells(samples, baseline, outcome.folder, name == "none"))
    return table


def _cells(
    samples: pd.DataFrame, baseline: pd.DataFrame, folder: Path, is_baseline: bool
) -> tuple[str, str, str]:
    correct, n = int(samples["correct"].sum()), len(samples)
    low, high = wilson(correct, n)
    accuracy = f"{100 * correct / n:.1f} [{100 * low:.0f}, {100 * high:.0f}]"
    if is_baseline:
        return accuracy, "", ""
    difference = paired_accuracy(
        samples.set_index("image_id")["correct"], baseline.set_index("image_id")["correct"]
    )
    rise = read_metrics(folder).set_index("metric").loc["eps_error_rise"]
    return (
        accuracy,
        f"{100 * difference.mean:+.1f} "
        f"[{100 * difference.ci_low:+.0f}, {100 * difference.ci_high:+.0f}]",
        f"{rise['value']:+.1f} [{rise['ci_low']:+.1f}, {rise['ci_high']:+.1f}]",
    )


def _draw(path: Path) -> None:
    import torch  # noqa: PLC0415 -- `--help` and wrong settings answer without torch

    from bigain import build  # noqa: PLC0415
    from bigain.figures.merge_maps import draw_merge_maps, merge_map  # noqa: PLC0415
    from bigain.operators import LGTM, ToMe  # noqa: PLC0415

    config = compose_config(["backbone=mini_dit", "dataset.limit=1000"])
    dataset = build.build_dataset(config.dataset)
    backbone = build.build_backbone(config.backbone, torch.device("cpu"), config.dtype)
    rows = []
    for label in (8, 9):
        sample = next(s for s in map(dataset.__getitem__, range(len(dataset))) if s.label == label)
        latents = backbone.encode(sample.image)
        maps = [
            merge_map(title, operator, backbone, latents, label=label, timestep=_MAP_TIMESTEP)
            for title, operator in (("ToMe 0.7", ToMe(0.7)), ("L-GTM 0.7", LGTM(0.7)))
        ]
        padded = torch.nn.functional.pad(torch.from_numpy(sample.image), (2, 2, 2, 2)).numpy()
        rows.append((f"{dataset.class_names[label]}, t = {_MAP_TIMESTEP}", padded, maps))
    draw_merge_maps(path, rows)


def _closing(images: int, results: Path, picture: Path) -> str:
    return (
        f"{images} images give wide intervals: differences inside them are noise.\n"
        f"Merge maps of ToMe and L-GTM over real images: {picture}\n"
        f"Every image's errors:   {results}/runs/<run_id>/samples.csv\n"
        "Next:  make table4 LIMIT=50      a table of the paper on the mini U-Net\n"
        "       make table5 LIMIT=50      the same on the mini DiT\n"
        "       docs/operators.md         what the operators do, and how to add one"
    )
