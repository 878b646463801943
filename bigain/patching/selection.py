"""Where an operator acts, as users say it: stages, levels, blocks and scope."""

from dataclasses import dataclass

from bigain.errors import UserError

__all__ = ["SCOPES", "STAGES", "SiteSelection", "default_blocks", "first_share"]

STAGES = ("encoder", "mid", "decoder")
SCOPES = ("self", "self+cross", "self+mlp", "self+cross+mlp")
"""Table 6: the modules of a block that run on reduced tokens, all with the same plan."""

_REFERENCE_DEPTH = 28
_REFERENCE_SHARE = 12
_REFERENCE_BLOCKS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)


@dataclass(frozen=True)
class SiteSelection:
    """Which sites of a model to use.

    Args:
        stages: for a U-Net: any of `encoder`, `mid`, `decoder`.
        levels: for a U-Net: integers >= 0, 0 is the highest resolution; None: the highest one with
            self-attention.
        blocks: for a flat transformer: indices, `first12` (the first 12/28), or None for the
            default; for a U-Net: positions in the selected stages and levels, or None for all.
        scope: `self`, `self+cross`, `self+mlp` or `self+cross+mlp` (Table 6).

    Raises:
        UserError: unknown stage or scope, negative level, or blocks that are neither indices nor
            `first12`.

    """

    stages: tuple[str, ...] = ("encoder", "decoder")
    levels: tuple[int, ...] | None = None
    blocks: tuple[int, ...] | str | None = None
    scope: str = "self"

    def __post_init__(self) -> None:
        if isinstance(self.stages, str):
            raise UserError(f"sites.stages={self.stages!r}: must be a tuple, such as ('encoder',)")
        object.__setattr__(self, "stages", tuple(self.stages))
        for name in ("levels", "blocks"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown:
            raise UserError(f"sites.stages={unknown[0]!r}: must be among {', '.join(STAGES)}")
        integers = self.levels is None or _are_integers(self.levels)
        if not integers or any(level < 0 for level in self.levels or ()):
            raise UserError(f"sites.levels={self.levels!r}: must be integers >= 0, such as (0,)")
        if isinstance(self.blocks, str) and self.blocks != "first12":
            raise UserError(f"sites.blocks={self.blocks!r}: must be indices or 'first12'")
        if not (self.blocks is None or isinstance(self.blocks, str) or _are_integers(self.blocks)):
            raise UserError(
                f"sites.blocks={self.blocks!r}: must be integers >= 0, such as (0, 1), or 'first12'"
            )
        if self.scope not in SCOPES:
            raise UserError(f"scope={self.scope}: allowed: {', '.join(SCOPES)}")

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules of the scope: `self`, then `cross`, then `mlp`."""
        return tuple(self.scope.split("+"))


def _are_integers(values: object) -> bool:
    return isinstance(values, tuple) and all(
        isinstance(value, int) and not isinstance(value, bool) for value in values
    )


def default_blocks(depth: int) -> tuple[int, ...]:
    """The default blocks of a flat transformer of `depth` blocks."""
    return _REFERENCE_BLOCKS if depth == _REFERENCE_DEPTH else first_share(depth)


def first_share(depth: int) -> tuple[int, ...]:
    """The first 12/28 of `depth` blocks, rounded, at least one."""
    return tuple(range(max(1, round(_REFERENCE_SHARE * depth / _REFERENCE_DEPTH))))
