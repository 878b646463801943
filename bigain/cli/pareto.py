"""`bigain pareto`: quality against cost of all finished runs, as an interactive page and a picture.

Of the runs that have a folder, and of those published in `<results>/<profile>/runs.csv`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bigain.cli.arguments import VerbParser, path_argument, results_folder
from bigain.cli.joint_answers import Answers, counted_flops, defaults_of
from bigain.figures.pareto import draw_pareto
from bigain.figures.style import save
from bigain.files import replace_text
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.files import check_results, need_results
from bigain.runs.joint import JointRun, joint_runs
from bigain.runs.pairing import read_finished
from bigain.runs.pareto import groups
from bigain.runs.store import damaged_runs
from bigain.runs.trials import read_trials, scale_of
from bigain.tables.pareto_page import axis_title, render_pareto
from bigain.tables.spec import choose
from bigain.tables.trial_cells import trial_metrics, trial_values

__all__ = ["main"]

_DESCRIPTION = (
    "Draw quality against cost of every finished run of a profile: an interactive page, "
    "pareto.html, that needs no network, and a picture, figures/pareto.png. On the page you choose "
    "the quality (accuracy, margin, Frechet distance) and the cost (FLOPs, time). Operators that "
    "another one beats in both are grey. No run is started."
)
_PROFILES = ("mini", "paper")
_MACHINE = ("device", "cpu_model", "threads", "attention_backend")


def main(arguments: Sequence[str]) -> int:
    """Write the page and the picture, and print their paths."""
    parser = VerbParser("pareto", _DESCRIPTION)
    parser.add_argument("--profile", default="mini", help="whose runs: mini (default) or paper")
    parser.add_argument("--backbone", metavar="NAME", help="only the runs of this backbone")
    parser.add_argument(
        "--output",
        type=path_argument,
        metavar="DIR",
        help="the folder to write to (default: mini or paper, the profile, in the folder of "
        "--results)",
    )
    options = parser.parse_args(arguments)
    profile = choose("--profile", options.profile, _PROFILES)
    if options.backbone is not None:
        names = sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml"))
        choose("--backbone", options.backbone, names)
    results = results_folder(options.results)
    need_results(results)
    output = options.output or results / profile
    check_results(output)
    sys.stderr.write("".join(f"left out: {damage}\n" for damage in damaged_runs(results).values()))
    archive = Archive(results, profile)
    found = groups(_runs(archive, options.backbone), partial(_machine, archive))
    page = output / "pareto.html"
    replace_text(page, render_pareto(found, profile))
    pictures = save(draw_pareto(found, axis_title), output / "figures" / "pareto") if found else []
    sys.stdout.write("".join(f"{path}\n" for path in [page, *pictures]))
    return 0


def _runs(archive: Archive, backbone: str | None) -> list[JointRun]:
    """The finished runs of the profile, with FLOPs, and with margins where errors were kept."""
    from bigain.launch.compose import compose_config  # noqa: PLC0415 -- loads hydra

    known = Answers(compose_config().paths.cache)
    runs = joint_runs(archive.results, partial(defaults_of, known), backbone)
    own = [run for run in runs if run.config["profile"] == archive.profile]
    found = [run if run.task == "efficiency" else _enriched(run, archive, known) for run in own]
    known.save()
    return found


def _enriched(run: JointRun, archive: Archive, known: Answers) -> JointRun:
    flops = counted_flops(known, run.config, archive.results)
    counted = {} if flops is None else {"flops_g": flops}
    return replace(run, metrics={**run.metrics, **counted, **_of_trials(run, archive)})


def _of_trials(run: JointRun, archive: Archive) -> Mapping[str, Metric]:
    """Margin, pairwise AUC and accuracy of the first stage, where the run kept its errors."""
    if not archive.errors_path(run.run_id).is_file():
        return {}
    finished = read_finished(archive.results, run.run_id)
    trials, scaled = read_trials(finished), scale_of(finished)
    if trials is None:
        return {}
    return trial_metrics(trial_values(trials, scaled.scale if scaled else None), None)


def _machine(archive: Archive, run: JointRun) -> str:
    """Where a run was made, in words."""
    manifest: Mapping[str, Any] = archive.manifest(run.run_id) or {}
    return ", ".join(str(manifest.get(key)) for key in _MACHINE)
