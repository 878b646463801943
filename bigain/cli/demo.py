"""`bigain demo`: five operators on both mini backbones and a few shipped images, in minutes.

The demo is a list of ordinary runs with small settings: it composes them, runs them into
`<results>/demo`, reads the run folders and prints a table.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config import RunConfig
from bigain.config.base import quoted
from bigain.engine.run import RunOutcome, run
from bigain.launch.compose import compose_configs
from bigain.metrics import image_errors, paired_accuracy, relative_rise, wilson
from bigain.runs.files import make_results
from bigain.runs.samples import read_samples

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

_NamedRun = tuple[str, str, RunConfig]
"""Backbone, operator as printed, configuration."""


def demo_configs(images: int, results: Path) -> list[_NamedRun]:
    """Every run of the demo; the baseline of a backbone comes before its operators.

    Raises:
        UserError: `images` is out of range.

    """
    common = (f"dataset.limit={images}", f"paths.results={quoted(results)}", *_PROTOCOL)
    names = [(backbone, name) for backbone in BACKBONES for name in OPERATORS]
    configs = compose_configs(
        [[f"backbone={backbone}", *OPERATORS[name], *common] for backbone, name in names]
    )
    return [
        (backbone, _with_alpha(name, config), config)
        for (backbone, name), config in zip(names, configs, strict=True)
    ]


def main(argv: Sequence[str]) -> int:
    """Run the demo; returns the exit code.

    Raises:
        UserError: a setting is out of range, or the results have no folder.

    """
    parser = VerbParser("demo", "Classify a few images with and without token compression.")
    parser.add_argument("--images", type=int, default=24, help="images to classify (default 24)")
    arguments = parser.parse_args(argv)
    results = arguments.results or results_folder(None) / "demo"
    configs = demo_configs(arguments.images, results)
    make_results(results)
    console = Console()
    console.print(
        f"Classifying {arguments.images} Fashion-MNIST test images with two small diffusion models "
        f"and {len(OPERATORS)} operators each, 75 denoiser evaluations per image."
    )
    outcomes = _run_all(configs, console)
    console.print(_table(configs, outcomes, arguments.images))
    picture = results / "merge_maps.png"
    from bigain.devices import choose_threads, limited_threads  # noqa: PLC0415 -- loads torch

    with limited_threads(choose_threads(None, is_mini=True).count):
        _draw(picture)
    console.print(_closing(arguments.images, results, picture), highlight=False, soft_wrap=True)
    return 0


def _with_alpha(name: str, config: RunConfig) -> str:
    """The name with alpha, whose default depends on the backbone; 0 is average pooling."""
    alpha = config.operator.settings()["alpha"]
    if not isinstance(alpha, float):
        return name
    return f"{name}, a={alpha:g}{' (avg)' if alpha == 0 else ''}"


def _run_all(configs: Sequence[_NamedRun], console: Console) -> list[RunOutcome]:
    """Run all in order, with one progress bar over the runs and none over their images."""
    columns = (
        TextColumn("{task.description:34}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    outcomes = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("loading", total=len(configs))
        for backbone, name, config in configs:
            progress.update(task, description=f"{backbone} {name}")
            outcomes.append(run(config, progress=False))
            progress.advance(task)
    return outcomes


def _table(configs: Sequence[_NamedRun], outcomes: Sequence[RunOutcome], images: int) -> Table:
    table = Table(
        title=f"Diffusion classifier, {images} images, 95 % intervals",
        caption="a: alpha of IE-KVD, 1 takes the nearest token, 0 the average",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("operator", no_wrap=True)
    for heading in ("Acc@1 %", "vs. baseline", "noise error, %"):
        table.add_column(heading, justify="right", no_wrap=True)
    baseline = pd.DataFrame()
    for (backbone, name, config), outcome in zip(configs, outcomes, strict=True):
        samples = read_samples(outcome.folder)
        if config.operator.is_baseline:
            baseline = samples
            table.add_section()
            table.add_row(backbone, style="bold")
            table.add_row(f" {name}", _accuracy(samples))
        else:
            table.add_row(f" {name}", _accuracy(samples), *_against(samples, baseline))
    return table


def _accuracy(samples: pd.DataFrame) -> str:
    correct, n = int(samples["correct"].sum()), len(samples)
    low, high = wilson(correct, n)
    return f"{100 * correct / n:.1f}{_interval(low, high, '.0f')}"


def _against(samples: pd.DataFrame, baseline: pd.DataFrame) -> tuple[str, str]:
    """Paired differences from the baseline, as printed: accuracy, then noise error."""
    difference = paired_accuracy(
        samples.set_index("image_id")["correct"], baseline.set_index("image_id")["correct"]
    )
    rise = relative_rise(image_errors(samples), image_errors(baseline))
    return (
        f"{100 * difference.mean:+.1f}{_interval(difference.ci_low, difference.ci_high, '+.0f')}",
        f"{100 * rise.mean:+.1f}{_interval(rise.ci_low, rise.ci_high, '.1f')}",
    )


def _interval(low: float, high: float, form: str) -> str:
    """` [low, high]` in per cent; empty if there is no interval, as for one image."""
    return "" if math.isnan(low) else f" [{100 * low:{form}}, {100 * high:{form}}]"


def _draw(path: Path) -> None:
    import torch  # noqa: PLC0415 -- `--help` and wrong settings answer without torch

    from bigain.engine import build  # noqa: PLC0415
    from bigain.operators import LGTM, ToMe  # noqa: PLC0415
    from bigain.tasks.operator_pictures import (  # noqa: PLC0415
        draw_rows,
        groups_subplot,
        image_subplot,
        score_subplot,
    )
    from bigain.tasks.token_maps import token_maps  # noqa: PLC0415

    (config,) = compose_configs([["backbone=mini_dit", "dataset.limit=1000"]])
    dataset = build.build_dataset(config.dataset)
    backbone = build.build_backbone(config.backbone, torch.device("cpu"), config.dtype)
    rows = []
    for label in (8, 9):
        sample = next(s for s in map(dataset.__getitem__, range(len(dataset))) if s.label == label)
        latents = backbone.encode(sample.image)
        tome, lgtm = (
            token_maps(operator, backbone, latents, label=label, timestep=_MAP_TIMESTEP)[0]
            for operator in (ToMe(0.7), LGTM(0.7))
        )
        image = torch.nn.functional.pad(torch.from_numpy(sample.image), (2, 2, 2, 2)).numpy()
        row = [image_subplot(image, tome, dataset.class_names[label]), score_subplot(lgtm)]
        row += [groups_subplot(image, tome, "ToMe 0.7"), groups_subplot(image, lgtm, "L-GTM 0.7")]
        rows.append(row)
    draw_rows(path, rows)


def _closing(images: int, results: Path, picture: Path) -> str:
    return (
        f"With {images} images, a difference whose interval contains 0 may be noise.\n"
        f"Merge maps of ToMe and L-GTM over real images: {picture}\n"
        f"Errors of every image:  {results}/runs/<run_id>/samples.csv\n"
        "Next:  make table4 LIMIT=50      a table of the paper on the mini U-Net\n"
        "       make table5 LIMIT=50      the same on the mini DiT\n"
        "       docs/operators.md         what the operators do, and how to add one"
    )
