"""ToMA, token merge with attention (arXiv 2509.10918): both maps are matrix products.

The grid is cut into tiles of `tile` x `tile` tokens; what is left at the right and at the bottom
forms smaller tiles.  A tile of n tokens keeps D = n - int(n * ratio) of them, its destinations.
With S_ij the cosine of the tokens i and j of a tile, these are chosen one after the other,

    the first:  argmax_j sum_i S_ij
    each next:  argmax_j sum_i max(S_ij - m_i, 0),   m_i = the largest S_ij of those chosen so far

which is the greedy maximum of the facility location f = sum_i max_j S_ij over the destinations j.
If equal up to rounding, the first token is taken.
With A (D x n) the soft-max over the destinations of tau * S, every column of which sums to one,

    reduce:   y = (A / row sums) x
    restore:  z = A^T y

The rows of A are nearly orthogonal for large tau, so its transpose takes the place of an inverse.
With tau = infinity each token goes to its most similar destination (if equal, the first), and a
destination to itself: `reduce` is the mean of each group, and `restore` copies it.

The sources leave open how a batch is treated where its rows differ (the released code takes the
destinations of the first row for all), ties, and grids that tiles do not divide: decided here as
above.  Maps of earlier timesteps, which the released code reuses, do not exist in a classifier.

Nothing is random.  Similarities, choice and A are fp32 (fp64 for fp64 input) and of each sample by
itself; the two products have the precision of the tensor.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from bigain.errors import UserError
from bigain.operators.base import UNCHANGED, Reduction, TokenReducer
from bigain.operators.cells import constant
from bigain.operators.matching import unit_tokens, without_autocast
from bigain.operators.random_key import RandomKey
from bigain.operators.tile_destinations import facility_location, representatives
from bigain.operators.validation import check_choice, check_switch, check_tokens

__all__ = ["DESTINATIONS", "MapReduction", "Tiles", "ToMA"]

DESTINATIONS = ("facility", "representative")
"""The greedy search, or the D tokens of largest mean similarity to their tile."""


class Tiles(NamedTuple):
    """Tiles of equal sides, with their maps.

    Attributes:
        tokens: (T, n) token numbers of each tile.
        dst: (B, T, D) places 0..n-1 of the destinations in their tile, ascending.
        weights: (B, T, D, n): A of every tile; its columns sum to one.

    """

    tokens: Tensor
    dst: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class MapReduction(Reduction):
    """Multiply the tokens of every tile by a matrix.

    Attributes:
        tiles: all tiles, those of equal sides together, or with B = 1 for any batch.
        order: (N,) place of each token when the tiles stand one after the other.

    """

    tiles: tuple[Tiles, ...]
    order: Tensor

    def reduce(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N', C): weighted means, tile by tile."""
        with without_autocast(x.device):
            parts = [
                (part.weights / part.weights.sum(dim=-1, keepdim=True)).to(x.dtype)
                @ x.index_select(1, part.tokens.flatten()).unflatten(1, part.tokens.shape)
                for part in self.tiles
            ]
            return torch.cat([part.flatten(1, 2) for part in parts], dim=1)

    def restore(self, y: Tensor) -> Tensor:
        """(B, N', C) -> (B, N, C): every token is a mean of its tile's outputs, by its column."""
        counts = [part.dst[0].numel() for part in self.tiles]
        with without_autocast(y.device):
            parts = [
                part.weights.transpose(-1, -2).to(y.dtype) @ own.unflatten(1, part.dst.shape[1:])
                for part, own in zip(self.tiles, y.split(counts, dim=1), strict=True)
            ]
            joined = torch.cat([part.flatten(1, 2) for part in parts], dim=1)
        return joined.index_select(1, self.order)

    def for_rows(self, index: Tensor) -> "MapReduction":
        """Row b has the maps of row `index[b]`."""
        tiles = (Tiles(part.tokens, part.dst[index], part.weights[index]) for part in self.tiles)
        return MapReduction(tuple(tiles), self.order)

    @property
    def dst(self) -> Tensor:
        """(B, N') token numbers of the destinations (for pictures of the map)."""
        own = (part.tokens.expand(len(part.dst), -1, -1) for part in self.tiles)
        found = (all_.gather(-1, part.dst) for all_, part in zip(own, self.tiles, strict=True))
        return torch.cat([each.flatten(1) for each in found], dim=1)

    def __repr__(self) -> str:
        return f"MapReduction({len(self.order)} -> {self.dst.shape[1]} tokens)"


@dataclass(frozen=True)
class ToMA(TokenReducer):
    """Token merge with attention.

    Args:
        ratio: share of the tokens of each tile to remove, in [0, 1); rounded down to tokens.
        tile: side of a tile in tokens, at least 2; as large as the grid: one tile.
        tau: sharpness of the soft-max, above 0; `hard` is infinity.
        destinations: `facility`, or `representative` (`DESTINATIONS`).
        one_map_per_stage: use the maps of a stage's first site at its other sites, as
            `CachedAssignment` does; never across forwards.

    Raises:
        UserError: a setting out of range.

    """

    ratio: float
    tile: int = 8
    tau: float | str = 1000.0
    destinations: str = "facility"
    one_map_per_stage: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_ratio(self.ratio)
        _check_tile(self.tile)
        object.__setattr__(self, "tau", _sharpness(self.tau))
        check_choice("destinations", self.destinations, DESTINATIONS)
        check_switch("one_map_per_stage", self.one_map_per_stage)
        object.__setattr__(self, "shared_in_stage", self.one_map_per_stage)

    @torch.no_grad()
    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        """Choose the destinations of each tile, and its map."""
        del draw
        check_tokens(metric.shape[1], grid)
        if self.num_kept(grid) == metric.shape[1]:
            return UNCHANGED
        unit = unit_tokens(metric)
        parts = [self._mapped(unit, tokens) for tokens in _tiles(grid, self.tile, metric.device)]
        return MapReduction(tuple(parts), _order(grid, self.tile, metric.device))

    def num_kept(self, grid: tuple[int, int]) -> int:
        """The destinations of all tiles.

        Raises:
            UserError: no tile is large enough to lose a token at this ratio.

        """
        shapes = list(_shapes(grid, self.tile))
        if self.ratio and not any(int(n * self.ratio) for _, n in shapes):
            largest = max(n for _, n in shapes)
            raise UserError(
                f"ratio={self.ratio}: allowed: 0, or at least {1 / largest:g} = 1/{largest}, so "
                f"that a tile of {largest} tokens loses one"
            )
        return sum(count * self._kept(n) for count, n in shapes)

    def plan_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of the similarities, 2 n^2 C for each tile."""
        if self.num_kept(grid) == grid[0] * grid[1]:
            return 0
        return sum(2 * count * n**2 * channels for count, n in _shapes(grid, self.tile))

    def apply_flops(self, grid: tuple[int, int], channels: int) -> int:
        """FLOPs of both products, 2 D n C each for each tile."""
        if self.num_kept(grid) == grid[0] * grid[1]:
            return 0
        shapes = _shapes(grid, self.tile)
        return sum(4 * count * self._kept(n) * n * channels for count, n in shapes)

    def _kept(self, tokens: int) -> int:
        """D of a tile."""
        return tokens - int(tokens * self.ratio)

    def _mapped(self, unit: Tensor, tokens: Tensor) -> Tiles:
        own = unit.index_select(1, tokens.flatten()).unflatten(1, tokens.shape)
        similarity = own @ own.transpose(-1, -2)
        choose = facility_location if self.destinations == "facility" else representatives
        dst = choose(similarity, self._kept(tokens.shape[1])).sort(dim=-1).values
        assert not isinstance(self.tau, str)
        return Tiles(tokens, dst, _map(similarity, dst, self.tau))


def _map(similarity: Tensor, dst: Tensor, tau: float) -> Tensor:
    """A (..., D, n) of the destinations `dst` (..., D)."""
    to_dst = similarity.take_along_dim(dst[..., None], dim=-2)
    if math.isfinite(tau):
        return (tau * to_dst).softmax(dim=-2)
    own = torch.arange(dst.shape[-1], device=dst.device).expand_as(dst)
    nearest = to_dst.argmax(dim=-2).scatter(-1, dst, own)
    return torch.zeros_like(to_dst).scatter_(-2, nearest[..., None, :], 1)


def _spans(side: int, tile: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, side of a tile) of the complete tiles along a side, and of what is left."""
    complete = side // tile * tile
    if complete:
        yield 0, complete, tile
    if complete < side:
        yield complete, side, side - complete


def _shapes(grid: tuple[int, int], tile: int) -> Iterator[tuple[int, int]]:
    """(T, n) of the tiles of equal sides, in the order of `_tiles`."""
    for top, bottom, high in _spans(grid[0], tile):
        for left, right, wide in _spans(grid[1], tile):
            yield (bottom - top) // high * ((right - left) // wide), high * wide


def _tiles(grid: tuple[int, int], tile: int, device: torch.device) -> list[Tensor]:
    """(T, n) token numbers, for each kind of tile."""
    spans = [(rows, columns) for rows in _spans(grid[0], tile) for columns in _spans(grid[1], tile)]
    return [_tokens(grid, rows, columns, device) for rows, columns in spans]


@constant
def _tokens(
    grid: tuple[int, int],
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
    device: torch.device,
) -> Tensor:
    (top, bottom, high), (left, right, wide) = rows, columns
    tokens = torch.arange(grid[0] * grid[1], device=device).view(grid)[top:bottom, left:right]
    tokens = tokens.reshape(-1, high, (right - left) // wide, wide).transpose(1, 2)
    return tokens.reshape(-1, high * wide).contiguous()


@constant
def _order(grid: tuple[int, int], tile: int, device: torch.device) -> Tensor:
    return torch.cat([each.flatten() for each in _tiles(grid, tile, device)]).argsort()


def _check_ratio(ratio: object) -> None:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise UserError(
            f"ratio={ratio}: allowed: a number from 0 to below 1, the share of the tokens of a "
            "tile that go"
        )


def _check_tile(tile: object) -> None:
    if isinstance(tile, bool) or not isinstance(tile, int) or tile < 2:
        raise UserError(f"tile={tile}: allowed: an integer >= 2, the side of a tile in tokens")


def _sharpness(tau: object) -> float:
    """`tau` as a number; infinity for `hard`."""
    if tau == "hard":
        return math.inf
    if isinstance(tau, bool) or not isinstance(tau, int | float) or not tau > 0:
        raise UserError(f"tau={tau}: allowed: a number above 0, or hard")
    return float(tau)
