"""What a user adds to all runs of a table, and which of them each addition is meant for."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from bigain.config import ClassificationConfig, EfficiencyConfig, GenerationConfig, RunConfig
from bigain.errors import UserError

__all__ = ["Compose", "adding", "concerning", "refuse_fixed_keys", "remembering", "yielding"]

Compose = Callable[[Sequence[Sequence[str]]], list[RunConfig]]
"""Overrides of several runs -> their configurations (`bigain.launch.compose.compose_configs`)."""

_SETTINGS = {
    "classification": ClassificationConfig.model_fields.keys(),
    "generation": GenerationConfig.model_fields.keys(),
    "flops": EfficiencyConfig.model_fields.keys(),
    "time": EfficiencyConfig.model_fields.keys(),
}
"""Kind of work -> the settings of its task."""

_FIXED_KEYS = ("backbone", "dataset", "dataset.name", "operator", "task", "profile", "experiment")


def concerning(
    extra: Sequence[str], work: str, works: Collection[str], is_own_backbone: bool
) -> Iterator[str]:
    """The overrides that are meant for the runs of one kind of work.

    A setting of another task of the table goes to the runs that have it, and one of the backbone to
    those of the profile's own backbone.  A setting that none has goes to all, to be refused.

    Args:
        extra: What the user added.
        work: Of the runs in question.
        works: All kinds of work in the table.
        is_own_backbone: Whether the runs are of the profile's backbone.

    """
    for override in extra:
        group, _, key = _key(override).partition(".")
        has_it = [each for each in works if key in _SETTINGS[each]]
        if group == "task" and has_it and work not in has_it:
            continue
        if group != "backbone" or is_own_backbone:
            yield override


def yielding(extra: Iterable[str], own: Iterable[str]) -> Iterator[str]:
    """Those of `extra` whose keys a cell does not set itself, as Table 14 sets the images."""
    taken = {_key(override) for override in own}
    return (override for override in extra if _key(override) not in taken)


def refuse_fixed_keys(number: int, extra: Sequence[str]) -> None:
    """Raise UserError for an override of what the table sets itself."""
    for override in extra:
        key = _key(override)
        if key in _FIXED_KEYS or key.startswith("operator."):
            raise UserError(
                f"{override}: Table {number} sets {key} itself; allowed: settings of all its "
                "runs, such as dataset.limit=20, seed=1, batch_size=64, paths.results=FOLDER"
            )


def adding(compose: Compose, extra: Sequence[str]) -> Compose:
    """`compose` that adds the same overrides to all."""
    return lambda commands: compose([(*command, *extra) for command in commands])


def remembering(compose: Compose) -> Compose:
    """`compose` that makes no configuration twice: tables share many runs."""
    known: dict[tuple[str, ...], RunConfig] = {}

    def composed(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        wanted = [tuple(command) for command in commands]
        fresh = [command for command in dict.fromkeys(wanted) if command not in known]
        known.update(zip(fresh, compose(fresh), strict=True))
        return [known[command] for command in wanted]

    return composed


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
