"""Runs that are listed one by one, through the launcher of any sweep.

A sweep of the command line is a product of choices, which Hydra's sweeper expands.  The runs that a
table lacks are no product; they go to the same launcher as they are.
"""

from collections.abc import Mapping, Sequence

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from bigain.launch.app import job, problems_of
from bigain.launch.compose import CONFIG_NAME, config_loader

__all__ = ["launch_runs"]


def launch_runs(
    commands: Sequence[Sequence[str]], settings: Sequence[str] = ()
) -> Mapping[str, Exception]:
    """Make runs in the order of `commands`; returns when all have ended.

    Args:
        commands: The overrides of each run.
        settings: Hydra's own overrides, such as `hydra/launcher=submitit_slurm`, and those that
            Hydra needs to know of the whole sweep, such as `paths.results=FOLDER`.

    Returns:
        Run id -> what ended it, of the runs of this process.  What became of a run that a launcher
        made elsewhere stands in the run store.

    """
    with config_loader() as loader:
        config = loader.load_configuration(CONFIG_NAME, list(settings), RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(config))
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=job, config=config
        )
        jobs = [list(command) for command in commands]
        return problems_of(lambda: launcher.launch(jobs, initial_job_idx=0))
