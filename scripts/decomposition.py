"""The runs of docs/decomposition.md: `python scripts/decomposition.py [key=value ...]`.

Makes those that are missing, the registered runs first, through the launchers that tables use:
`hydra/launcher=joblib` makes several at a time.  `--list` prints their commands instead.
`scripts/decomposition_results.py` computes what was registered from those that are finished.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.launch.plan import PlannedRun
from bigain.launch.sweep import launch_runs

__all__ = [
    "EXPLORATORY",
    "MORE_SEEDS",
    "REGISTERED_SEEDS",
    "VARIANTS",
    "Run",
    "exploratory",
    "main",
    "narrowing",
    "planned",
    "registered",
]

VARIANTS = {
    "ToMe, paired": "operator=tome",
    "ToMe, per forward": "operator=tome operator.draws=per_forward batch_size=8",
    "random, per sample": "operator=tome operator.draws=per_sample",
    "L-GTM, Eq. 7": "operator=lgtm",
    "L-GTM, replicate": "operator=lgtm operator.padding=replicate",
    "L-GTM, as released": "operator=lgtm operator.destinations=as_released",
    "L-GTM, shared": "operator=lgtm operator.plan=shared",
}
"""Name -> settings, of the registered variants."""

EXPLORATORY = {"ToMe, one plan": "operator=tome operator.plan=shared"}
"""The same of variants that were added after the registration: described, never tested."""

NARROWED = ("ToMe, paired", "L-GTM, Eq. 7")
"""The variants of `narrowing`."""

REGISTERED_SEEDS = (0, 1, 2)
MORE_SEEDS = range(3, 17)
"""Of `narrowing`: without a baseline of their own."""

BASELINE = "baseline"
BACKBONES = ("mini_unet", "mini_dit")
_PROTOCOL = ("task.trial_list=[5]", "task.keep_list=[1]", "dataset.limit=1000")


class Run(NamedTuple):
    """One run of the decomposition.

    Attributes:
        backbone: Its name.
        variant: `baseline`, or a key of `VARIANTS` or `EXPLORATORY`.
        ratio: Merge ratio; 0 of the baseline.
        seed: Of noise and draws.

    """

    backbone: str
    variant: str
    ratio: float
    seed: int

    @property
    def overrides(self) -> tuple[str, ...]:
        """What a user types for it."""
        own = "operator=none"
        if self.variant != BASELINE:
            settings = (VARIANTS | EXPLORATORY)[self.variant]
            own = f"{settings} operator.ratio={self.ratio}"
        seed = [f"seed={self.seed}"] if self.seed else []
        return (f"backbone={self.backbone}", *_PROTOCOL, *own.split(), *seed)

    @property
    def baseline(self) -> "Run":
        """The run whose errors give sigma_t: of the same seed where that was registered, else 0."""
        seed = self.seed if self.seed in REGISTERED_SEEDS else 0
        return Run(self.backbone, BASELINE, 0.0, seed)


def registered() -> Iterator[Run]:
    """The registered runs: ratio 0.7 with seed 0, then the other ratios, then the other seeds."""
    for ratio, seed in ((0.7, 0), (0.5, 0), (0.3, 0), (0.7, 1), (0.7, 2)):
        for backbone in BACKBONES:
            if ratio == 0.7:
                yield Run(backbone, BASELINE, 0.0, seed)
            yield from (Run(backbone, variant, ratio, seed) for variant in VARIANTS)


def exploratory() -> Iterator[Run]:
    """Runs that were added after the registration."""
    for seed, backbone in product(REGISTERED_SEEDS, BACKBONES):
        yield from (Run(backbone, variant, 0.7, seed) for variant in EXPLORATORY)


def narrowing() -> Iterator[Run]:
    """More seeds of H2 on the DiT, where the interval of three was wide: described, not tested."""
    for seed in MORE_SEEDS:
        yield from (Run("mini_dit", variant, 0.7, seed) for variant in NARROWED)


def planned() -> Iterator[Run]:
    """All runs, the registered ones first."""
    yield from registered()
    yield from exploratory()
    yield from narrowing()


def main(arguments: list[str] | None = None) -> int:
    """Make or list the runs; 1 if one failed, 2 and one line for a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the commands")
    parser.add_argument("setting", nargs="*", help="key=value for all runs")
    options = parser.parse_args(arguments)
    own = [each for each in options.setting if not each.startswith("hydra")]
    hydra = [each for each in options.setting if each.startswith("hydra")]
    words = [(*run.overrides, *own) for run in planned()]
    if options.list:
        sys.stdout.writelines(f"python -m bigain {shlex.join(each)}\n" for each in words)
        return 0
    try:
        failures = launch_runs([PlannedRun(each, compose_config(each)) for each in words], hydra)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
