"""`bigain fid A B`: the Frechet distance between the images of A and those of B.

A is a folder of generated images, B a folder of real ones; either may be a .npz of statistics as
pytorch-fid writes it.  Such a file has no features, so some of the numbers cannot be computed.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from bigain.cli.arguments import VerbParser, path_argument
from bigain.devices import choose_threads, limited_threads
from bigain.errors import UserError
from bigain.features.base import Extractor, FolderImages, decode_workers, extract
from bigain.features.inception import InceptionExtractor
from bigain.features.mini import MiniExtractor
from bigain.features.reference import Reference, check_fits, compute_reference, read_reference
from bigain.metrics import (
    FewImagesWarning,
    Metric,
    frechet_distance,
    generation_metrics,
    warn_if_few,
)

__all__ = ["main"]

_FID_FEATURES = 2048
_FEWEST = 2
_HEADS = ("metric", "value", "95 % interval", "n", "unit")


def main(arguments: Sequence[str]) -> int:
    """Print the distance, KID, precision and recall, and the settings behind them."""
    options = _parser().parse_args(arguments)
    _check_sides(options)
    extractor = None if _all_statistics(options) else _extractor(options)
    threads = choose_threads(None, is_mini=options.extractor == "mini")
    with limited_threads(threads.count):
        a, b = (_side(options, path, extractor) for path in (options.a, options.b))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewImagesWarning)
        metrics = _metrics(options, extractor, a, b)
    sys.stderr.write("".join(f"warning: {warning.message}\n" for warning in caught))
    sys.stderr.write("".join(f"note: {note}\n" for note in _notes(options, a, b)))
    about = _about(options, extractor, a, b)
    sys.stdout.write(_json(metrics, about) if options.format == "json" else _text(metrics, about))
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("fid", "Compare two folders of images, or .npz statistics.", results=False)
    parser.add_argument("a", type=path_argument, help="folder of generated images, or .npz")
    parser.add_argument("b", type=path_argument, help="folder of reference images, or .npz")
    parser.add_argument(
        "--extractor",
        choices=["inception", "mini"],
        default="inception",
        help="inception: FID (default); mini: frechet_mini, for Fashion-MNIST, which is not FID",
    )
    parser.add_argument(
        "--weights", type=path_argument, metavar="FILE", help="Inception's; default: cache"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="first N images of each folder")
    parser.add_argument("--workers", type=int, help="decoding threads (default: one per core)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps")
    parser.add_argument("--seed", type=int, default=0, help="seed of KID's subsets (default 0)")
    parser.add_argument(
        "--mixed-sizes", action="store_true", help="allow images of different sizes in a folder"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    return parser


def _check_sides(options: argparse.Namespace) -> None:
    """Raise UserError for an unusable side, before Inception is searched for or downloaded."""
    for path in (options.a, options.b):
        if _is_statistics(path):
            read_reference(path)
        elif len(FolderImages(path, limit=options.limit)) < _FEWEST:
            limit = f"--limit={options.limit}, " if options.limit is not None else ""
            raise UserError(
                f"{limit}{path}: a single image has no covariance; allowed: at least 2 images"
            )


def _all_statistics(options: argparse.Namespace) -> bool:
    return _is_statistics(options.a) and _is_statistics(options.b)


def _is_statistics(path: Path) -> bool:
    return path.suffix == ".npz"


def _extractor(options: argparse.Namespace) -> Extractor:
    try:
        device = torch.device(options.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        allowed = "cpu, or cuda or mps where this torch and machine have it"
        raise UserError(
            f"--device={options.device}: cannot be used ({reason}); allowed: {allowed}"
        ) from None
    if options.extractor == "inception":
        return InceptionExtractor(options.weights, device)
    if options.weights is not None:
        raise UserError(f"--weights={options.weights}: allowed only with --extractor=inception")
    return MiniExtractor(device)


def _side(options: argparse.Namespace, path: Path, extractor: Extractor | None) -> Reference:
    if _is_statistics(path) or extractor is None:
        statistics = read_reference(path)
        if extractor is not None:
            check_fits(statistics, extractor, str(path))
        return statistics
    images = FolderImages(path, extractor.mode, options.limit)
    workers = decode_workers() if options.workers is None else options.workers
    features = extract(
        extractor, images, workers, options.mixed_sizes, progress=sys.stderr.isatty()
    )
    return compute_reference(features, {"dataset": str(path)})


def _metric_name(extractor: Extractor | None, a: Reference, b: Reference) -> str:
    """Only the distance of Inception's 2,048 features is called `fid`.

    Statistics of this package name their metric.  Those of pytorch-fid do not; with 2,048 features
    they are taken for FID's.
    """
    names = {side.about["metric"] for side in (a, b) if "metric" in side.about}
    names |= set() if extractor is None else {extractor.metric}
    if len(names) > 1:
        raise UserError(
            f"{a.about['dataset']}, {b.about['dataset']}: have different features "
            f"({' and '.join(sorted(names))}); allowed: both from the same --extractor"
        )
    return names.pop() if names else "fid" if a.moments.dimension == _FID_FEATURES else "frechet"


def _metrics(
    options: argparse.Namespace, extractor: Extractor | None, a: Reference, b: Reference
) -> list[Metric]:
    name = _metric_name(extractor, a, b)
    sizes = a.moments.dimension, b.moments.dimension
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{options.a}: has {sizes[0]} features, but {options.b} has {sizes[1]}; allowed: both "
            "from the same --extractor"
        )
    if a.features is not None:
        return generation_metrics(name, a.features, b.moments, b.features, options.seed)
    warn_if_few(a.moments, b.moments)
    value = frechet_distance(a.moments, b.moments)
    return [Metric(name, value, a.moments.n or 0, float("nan"), float("nan"), "feature^2")]


def _notes(options: argparse.Namespace, a: Reference, b: Reference) -> list[str]:
    """Which numbers are missing, and why."""
    notes = []
    for path, side in ((options.a, a), (options.b, b)):
        if side.moments.n is None:
            d = side.moments.dimension
            notes.append(
                f"{path}: does not say how many images it was computed from; with fewer than {d}, "
                "the number of features, the distance is far too large"
            )
    if a.features is None:
        notes.append(
            f"{options.a}: has a mean and a covariance but no features, so there is no interval, "
            "KID, precision or recall; pass the folder of images instead"
        )
    elif b.features is None:
        notes.append(
            f"{options.b}: has a mean and a covariance but no features, so there is no KID, "
            "precision or recall"
        )
    return notes


def _about(
    options: argparse.Namespace, extractor: Extractor | None, a: Reference, b: Reference
) -> dict[str, Any]:
    used: dict[str, Any] = {"extractor": None if extractor is None else extractor.name}
    if extractor is not None:
        used |= {"revision": extractor.revision, "resize": extractor.resize}
    sides = {f"n_{key}": side.moments.n for key, side in (("a", a), ("b", b))}
    return {"a": str(options.a), "b": str(options.b), **sides, **used}


def _json(metrics: Sequence[Metric], about: dict[str, Any]) -> str:
    measured = [
        {"metric": m.metric, "value": m.value, "n": m.n, "unit": m.unit, "ci": _interval(m)}
        for m in metrics
    ]
    return json.dumps({"metrics": measured, "about": about}, indent=2) + "\n"


def _text(metrics: Sequence[Metric], about: dict[str, Any]) -> str:
    rows = [_row(metric) for metric in metrics]
    lines = [f"{key}: {'unknown' if value is None else value}" for key, value in about.items()]
    return tabulate(rows, _HEADS, disable_numparse=True) + "\n\n" + "\n".join(lines) + "\n"


def _row(metric: Metric) -> tuple[str, ...]:
    ends = _interval(metric)
    interval = f"[{ends[0]:.5g}, {ends[1]:.5g}]" if ends else ""
    return metric.metric, f"{metric.value:.6g}", interval, str(metric.n or "?"), metric.unit


def _interval(metric: Metric) -> tuple[float, float] | None:
    return None if metric.ci_low != metric.ci_low else (metric.ci_low, metric.ci_high)
