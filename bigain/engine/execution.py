"""Computing what a run still lacks: the part of a run that needs torch and the model."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from tqdm import tqdm

from bigain.config import RunConfig
from bigain.devices import limited_threads
from bigain.engine.jobs import Job, make_job
from bigain.runs import provenance
from bigain.runs.session import RunSession
from bigain.runs.store import RunStore
from bigain.runs.summary import conclusion_of

__all__ = ["execute"]


def execute(config: RunConfig, store: RunStore, *, progress: bool = True) -> int:
    """Compute and store the records of this shard that are missing; finish the run if it is whole.

    Args:
        config: The run.
        store: Where it lies.
        progress: Whether a terminal shows a bar over the records.

    Returns:
        How many images were computed, those of lost files included (those taken over from another
        run not counted).

    Raises:
        UserError: data, weights or device are not what the configuration says, another process
            works on the same shard, or a lost image cannot be made again.

    """
    bar = partial(tqdm, desc=config.title, disable=None if progress else True)
    with limited_threads(config.threads):
        job = make_job(config)
        origin = provenance.collect(job.attention_backend, job.hashes, job.source)
        with store.open(config, job.ids, {**origin, **job.notes}) as session:
            computed = _restore(job, session, bar)
            session.adopt(job.carry)
            computed += _compute(job, session, bar)
            conclude = conclusion_of(config, config.paths.results, job.judge)
            session.finish(conclude, job.facts())
    return computed


def _restore(job: Job, session: RunSession, progress_bar: Callable[..., Any]) -> int:
    """Bring back the files that records promise and that are lost; the records stay as they are."""
    lost = job.lost(list(session.done.values()))
    if not lost:
        return 0
    bar = progress_bar(total=len(lost), unit=job.unit, leave=False)
    with bar, closing(job.again(lost)) as restored:
        for _ in restored:
            bar.update()
    return len(lost)


def _compute(job: Job, session: RunSession, progress_bar: Callable[..., Any]) -> int:
    """Compute what is left of this shard, one record on disk after the other."""
    todo = session.todo()
    if not todo:
        return 0
    bar = progress_bar(total=len(todo), unit=job.unit, leave=False)
    with bar, closing(job.records(todo)) as records:
        for record in records:
            session.append(record)
            bar.update()
    return len(todo)
