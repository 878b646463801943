"""`bigain doctor [key=value ...]`: whether this machine has what a run needs, before it starts."""

import itertools
import sys
from collections.abc import Sequence
from contextlib import suppress

from bigain.cli.arguments import VerbParser
from bigain.config import RunConfig
from bigain.config.architectures import ARCHITECTURES
from bigain.doctor.backbones import fetch, fetch_extractor
from bigain.doctor.examine import Request, examine_everything, examine_runs
from bigain.doctor.findings import Finding, as_json, as_text, first_that_stops
from bigain.errors import UserError

__all__ = ["main"]

_DESCRIPTION = (
    "Check environment, device, weights, data and disk: what is ready, what is missing and how to "
    "get it. Exit code 0 if all that is asked for is ready, 2 otherwise."
)
_COMPANIONS = {
    "dataset": ("dataset=pets", "dataset=imagenet1k"),
    "backbone": ("backbone=sd20", "backbone=dit_xl2_512"),
}
"""Group -> options that make a run of a command line without that group."""
_PAPER = {
    "backbone": ("backbone=sd20", "backbone=dit_xl2_512"),
    "dataset": tuple(
        f"dataset={name}" for name in ("pets", "imagenet100", "imagenet1k", "coco2017")
    ),
}
"""What `profile=paper` alone stands for."""


def main(arguments: Sequence[str]) -> int:
    """Print the report, and the first blocking problem on stderr.

    Raises:
        UserError: something that was asked for is not ready, or the settings are wrong.

    """
    parser = VerbParser("doctor", _DESCRIPTION, results=False)
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="as of a run; a backbone or a dataset alone is checked alone; profile=paper alone: "
        "all of the paper's; none: everything there is",
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="the settings are a sweep: check all its runs"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="get missing weights from the hub, and Inception's, first (network!)",
    )
    parser.add_argument(
        "--format", choices=["text", "json"], default="text", help="text (default) or json"
    )
    options = parser.parse_intermixed_args(arguments)
    findings = _findings(options.settings, options.multirun, options.download)
    sys.stdout.write((as_json if options.format == "json" else as_text)(findings))
    stops = first_that_stops(findings)
    if stops:
        sys.stdout.flush()
        raise UserError(stops)
    return 0


def _findings(settings: Sequence[str], multirun: bool, download: bool) -> list[Finding]:
    if not settings:
        if download:
            raise UserError("--download: allowed: with a backbone, such as backbone=sd20")
        return _everything()
    request = _request(settings, multirun)
    if download and request.backbones:
        for backbone in dict.fromkeys(config.backbone for config in request.configs):
            fetch(backbone)
        for config in request.configs:
            fetch_extractor(config)
    return examine_runs(request)


def _everything() -> list[Finding]:
    from bigain.launch.compose import (  # noqa: PLC0415 -- loads hydra
        compose_config,
        compose_configs,
        config_loader,
    )

    default = compose_config()
    with config_loader() as loader:
        names = loader.get_group_options("dataset")
    # A task without images composes for any backbone with any dataset.
    backbones = [[f"backbone={name}", "task=efficiency"] for name in ARCHITECTURES]
    paper = ["profile=paper", "backbone=sd20", "task=efficiency"]
    others = [[*paper, f"dataset={name}"] for name in names if name != default.dataset.name]
    datasets = [default.dataset, *(config.dataset for config in compose_configs(others))]
    return examine_everything(
        default,
        [config.backbone for config in compose_configs(backbones)],
        [each for each in datasets if not each.kind.is_own],  # of which none is named
    )


def _request(settings: Sequence[str], multirun: bool) -> Request:
    """The runs of the settings; of settings that make no run, what is named of one.

    A backbone or a dataset alone is checked alone.  `profile=paper` without a backbone or a dataset
    stands for all of the paper's.

    Raises:
        UserError: the settings are wrong, by themselves and with any companion.

    """
    chosen = {each.partition("=")[0] for each in settings}
    lacking = [group for group in _COMPANIONS if group not in chosen and "experiment" not in chosen]
    if lacking and "profile=paper" in settings:
        rows = itertools.product(*(_PAPER[group] for group in lacking))
        return Request(_those_that_compose(settings, multirun, list(rows)))
    try:
        return Request(_planned(settings, multirun))
    except UserError:
        if len(lacking) == 1:
            companions = [[each] for each in _COMPANIONS[lacking[0]]]
            with suppress(UserError):  # the user wrote no companion: no message about it
                configs = _those_that_compose(settings, multirun, companions)
                return _of_what_is_named(configs, lacking[0])
        raise


def _of_what_is_named(configs: Sequence[RunConfig], lacking: str) -> Request:
    """One run for each backbone, or for each dataset, of runs that need a `lacking` of neither."""
    named = {(c.dataset if lacking == "backbone" else c.backbone): c for c in reversed(configs)}
    return Request(tuple(named.values())[::-1], lacking != "backbone", lacking != "dataset")


def _planned(settings: Sequence[str], multirun: bool) -> tuple[RunConfig, ...]:
    from bigain.launch.plan import check_operators, plan_runs  # noqa: PLC0415 -- loads hydra

    runs = plan_runs(settings, multirun).runs
    check_operators(runs)
    return tuple(each.config for each in runs)


def _those_that_compose(
    settings: Sequence[str], multirun: bool, additions: Sequence[Sequence[str]]
) -> tuple[RunConfig, ...]:
    """The runs of the settings with each of the additions that they go with.

    Raises:
        UserError: the first reason, if they go with none.

    """
    configs: list[RunConfig] = []
    reasons: list[UserError] = []
    for added in additions:
        try:
            configs += _planned([*settings, *added], multirun)
        except UserError as error:
            reasons.append(error)
    if not configs:
        raise reasons[0]
    return tuple(configs)
