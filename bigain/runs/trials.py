"""The first stage's errors of finished runs, ready for the statistics of single trials."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bigain.metrics import PairedResult, paired_accuracy, paired_difference, relative_rise
from bigain.metrics.trials import THIRDS, Scale, Trials
from bigain.runs.baselines import making_baseline
from bigain.runs.errors import FirstStage
from bigain.runs.pairing import FinishedRun

__all__ = ["DECISIONS", "ERROR_RISES", "SCALED", "ScaledBy", "TrialPairs"]
__all__ += ["missing_scale", "read_trials", "scale_of"]


@dataclass(frozen=True)
class ScaledBy:
    """A scale, and the run that it comes from.

    Attributes:
        run_id: The run without an operator.
        n: Its images.
        scale: sigma_t and mu_t of each trial.

    """

    run_id: str
    n: int
    scale: Scale


def read_trials(run: FinishedRun) -> Trials | None:
    """The errors of a run, of the images that have them; None if it has none.

    Races and generated images have none, nor have runs from before errors were kept.

    Raises:
        UserError: Its file is damaged.

    """
    found = run.archive.errors(run.run_id)
    return None if found is None else _trials(found, _labels(run))


def scale_of(run: FinishedRun) -> ScaledBy | None:
    """The scale of the baseline of a run, all its images; None if it has no errors here.

    Raises:
        UserError: A file of the baseline is damaged.

    """
    name = run.manifest.get("baseline_id", run.run_id)
    samples = run.archive.samples(name)
    manifest = run.archive.manifest(name)
    if samples is None or manifest is None:
        return None
    baseline = read_trials(FinishedRun(name, manifest, samples, run.archive))
    return None if baseline is None else ScaledBy(name, len(baseline.image_ids), baseline.scale)


def missing_scale(run: FinishedRun) -> str:
    """Why `scale_of` has none: the baseline was not made, or it has no errors.

    The first with the command that makes it.
    """
    name = run.manifest.get("baseline_id", run.run_id)
    if run.archive.manifest(name) is None or run.archive.samples(name) is None:
        return f"the baseline, run {name}, was not made; make it: {making_baseline(run.config)}"
    return f"the baseline, run {name}, has no errors of all classes"


def _labels(run: FinishedRun) -> Mapping[int, list[int]]:
    """Image id -> its labels."""
    samples = run.samples
    several = samples["labels"] if "labels" in samples else [[own] for own in samples["label"]]
    return dict(zip(samples["image_id"], several, strict=True))


def _trials(found: FirstStage, labels: Mapping[int, list[int]]) -> Trials:
    has_errors = ~np.isnan(found.errors).any(axis=(1, 2))
    image_ids = found.image_ids[has_errors]
    errors = found.errors[has_errors].astype(np.float64)
    truth = np.zeros((len(image_ids), errors.shape[2]), np.bool_)
    for row, image_id in enumerate(image_ids.tolist()):
        truth[row, labels[image_id]] = True
    return Trials(image_ids, found.timesteps, errors, truth)


DECISIONS: Mapping[str, tuple[str, str]] = {
    "best_margin": ("t", "sigma_t"),
    "pairwise_auc": ("t", "points"),
    "acc1_first": ("McNemar", "points"),
}
"""Metric -> test and unit; the first is the primary endpoint (`bigain.metrics.trials`)."""

ERROR_RISES: Mapping[str, str | None] = {
    "eps_rise_equal": None,
    **{f"eps_rise_{third}": third for third in THIRDS},
}
"""Rise of the noise error with equal weights per timestep -> third of noise; None for all."""

SCALED = ("best_margin", *ERROR_RISES)
"""The metrics that need the scale of the baseline."""


class TrialPairs:
    """Runs against one reference in the statistics of single trials.

    Args:
        reference: Its baseline, which may be itself, gives the scale.

    Attributes:
        scaled_by: That scale; None if there is none.

    """

    def __init__(self, reference: FinishedRun) -> None:
        self._reference = read_trials(reference)
        self.scaled_by = None if self._reference is None else scale_of(reference)
        self._run = reference

    def against(self, run: FinishedRun) -> tuple[dict[str, PairedResult], dict[str, str]]:
        """What `run` has more of, and why the rest is absent: metric -> result, metric -> reason.

        Of a run without errors nothing is computed, and without those of the baseline nothing that
        needs its scale.
        """
        own, other = read_trials(run), self._reference
        if own is None or other is None:
            lacking = run.run_id if own is None else self._run.run_id
            why = f"run {lacking} has no errors of all classes"
            return {}, dict.fromkeys((*DECISIONS, *ERROR_RISES), why)
        found = {
            "pairwise_auc": paired_difference(own.pairwise_auc(), other.pairwise_auc()),
            "acc1_first": paired_accuracy(own.is_right(), other.is_right()),
        }
        if self.scaled_by is None:
            return found, dict.fromkeys(SCALED, missing_scale(self._run))
        scale = self.scaled_by.scale
        margins = paired_difference(own.mean_margins(scale), other.mean_margins(scale))
        rises = {
            name: relative_rise(own.noise_errors(scale, third), other.noise_errors(scale, third))
            for name, third in ERROR_RISES.items()
            if third is None or third in own.thirds
        }
        return {"best_margin": margins, **found, **rises}, {}
