"""Slow, loop-based transcriptions of the operators' definitions, independent of the package."""

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Merged:
    """One sample: for each kept place the tokens in it, and the place of each token."""

    places: list[list[int]]
    assignment: list[int]

    def reduce(self, x: Array) -> Array:
        rows = []
        for members in self.places:
            total = np.zeros(x.shape[1])
            for token in members:
                total += x[token]
            rows.append(total / len(members))
        return np.array(rows)

    def restore(self, y: Array) -> Array:
        return np.array([y[place] for place in self.assignment])


def cells(h: int, w: int, sy: int, sx: int) -> list[list[int]]:
    return [
        [(cy * sy + dy) * w + cx * sx + dx for dy in range(sy) for dx in range(sx)]
        for cy in range(h // sy)
        for cx in range(w // sx)
    ]


def neighbours(h: int, w: int, token: int) -> list[int]:
    row, column = divmod(token, w)
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [y * w + x for y, x in around if 0 <= y < h and 0 <= x < w]


def laplacian(x: Array, h: int, w: int, padding: str) -> list[Array]:
    responses = []
    for token in range(h * w):
        around = neighbours(h, w, token)
        if padding == "replicate":
            around += [token] * (4 - len(around))
        response = -4 * x[token]
        for other in around:
            response = response + x[other]
        responses.append(response)
    return responses


def norm(a: Array) -> float:
    return math.sqrt(sum(float(value) ** 2 for value in a))


def mean_token(x: Array) -> Array:
    return np.array([math.fsum(channel) / len(x) for channel in x.T])


def amplitudes(a: Array) -> list[float]:
    """|X_k| of the discrete Fourier transform over the channels, k = 0..C-1."""
    turn = -2j * math.pi / len(a)
    return [
        abs(sum(float(value) * cmath.exp(turn * k * c) for c, value in enumerate(a)))
        for k in range(len(a))
    ]


def variance(a: Array) -> float:
    mean = sum(map(float, a)) / len(a)
    return sum((float(value) - mean) ** 2 for value in a) / (len(a) - 1)


def centroid(a: Array) -> float:
    spectrum = amplitudes(a)
    return sum(k * size for k, size in enumerate(spectrum)) / (sum(spectrum) + 1e-7)


def cosine_neighbors(x: Array, h: int, w: int, token: int) -> float:
    around = [cosine(x[token], x[other]) for other in neighbours(h, w, token)]
    return -sum(around) / len(around)


def score(name: str, x: Array, h: int, w: int, padding: str = "zero") -> list[float]:
    """Table 13: one number for each token of `x` (h * w, C)."""
    responses, mean, n = laplacian(x, h, w, padding), mean_token(x), range(h * w)
    one: dict[str, Callable[[int], float]] = {
        "laplacian_l1": lambda i: sum(abs(float(value)) for value in responses[i]),
        "laplacian_l2": lambda i: norm(responses[i]),
        "global_mean_deviation": lambda i: norm(x[i] - mean),
        "l1_norm": lambda i: sum(abs(float(value)) for value in x[i]),
        "l2_norm": lambda i: norm(x[i]),
        "channel_variance": lambda i: variance(x[i]),
        "dft_spectral_centroid": lambda i: centroid(x[i]),
        "dft_amplitude": lambda i: sum(amplitudes(x[i])[1:]),
        "cosine_neighbors": lambda i: cosine_neighbors(x, h, w, i),
        "cosine_global_mean": lambda i: -cosine(x[i], mean),
    }
    return [one[name](i) for i in n]


def lowest_of_each_cell(scores: list[float], grid_cells: list[list[int]]) -> list[int]:
    chosen = []
    for members in grid_cells:
        best = members[0]
        for token in members[1:]:
            if scores[token] < scores[best]:
                best = token
        chosen.append(best)
    return chosen


def as_released(scores: list[float], h: int, w: int, sy: int, sx: int) -> list[int]:
    """The released code's destinations, band by band, strip by strip."""
    across = w // sx
    chosen = []
    for band in range(h // sy):
        sequence = []
        for row in range(band * sy, (band + 1) * sy):
            sequence += scores[row * w : row * w + across * sx]
        for j in range(across):
            strip = sequence[j * sy * sx : (j + 1) * sy * sx]
            p = strip.index(min(strip))
            chosen.append((band * sy + p // sx) * w + j * sx + p % sx)
    return chosen


def cosine(a: Array, b: Array) -> float:
    norms = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / norms if norms else 0.0


def order_of(values: list[float], sign: int = 1) -> list[int]:
    """Places of `values` from the lowest (sign -1: the highest) on, equal ones by place."""
    return sorted(range(len(values)), key=lambda i: (sign * values[i], i))


def gather(places: list[list[int]], tokens: int) -> Merged:
    assignment = [-1] * tokens
    for place, members in enumerate(places):
        for token in members:
            assert assignment[token] == -1
            assignment[token] = place
    assert -1 not in assignment
    return Merged(places, assignment)


def merge(metric: Array, dst: list[int], removed: int, protected: Sequence[int] = ()) -> Merged:
    """Sources, then destinations with what was merged into them; never those `protected`."""
    src = [token for token in range(len(metric)) if token not in dst]
    best, target = [], []
    for token in src:
        similarities = [cosine(metric[token], metric[other]) for other in dst]
        target.append(order_of(similarities, -1)[0])
        best.append(similarities[target[-1]])
    ranked = [i for i in order_of(best, -1) if src[i] not in protected]
    merged = {src[i]: target[i] for i in ranked[: min(removed, len(src))]}
    kept = [token for token in src if token not in merged]
    places = [[token] for token in kept] + [[token] for token in dst]
    for token, place in sorted(merged.items()):
        places[len(kept) + place].append(token)
    return gather(places, len(metric))


def pool_tiles(scores: list[float], tiles: list[list[int]], removed: int, aggregate: str) -> Merged:
    """ABM: single tokens, then the pooled tiles."""
    totals = []
    for tile in tiles:
        values = [scores[token] for token in tile]
        totals.append(max(values) if aggregate == "max" else sum(values))
        totals[-1] /= len(tile) if aggregate == "mean" else 1
    count = min(removed // (len(tiles[0]) - 1), len(tiles))
    pooled = [tiles[i] for i in sorted(order_of(totals)[:count])]
    gone = {token for tile in pooled for token in tile}
    return gather([[i] for i in range(len(scores)) if i not in gone] + pooled, len(scores))


def sito(
    metric: Array, noise: list[float], tiles: list[list[int]], removed: int, weights: Array
) -> tuple[list[int], list[int]]:
    """SiTo: the kept tokens, and the place whose output each token takes."""
    n, norms = range(len(metric)), [norm(token) for token in metric]
    graph = [[float(metric[i] @ metric[j]) / (norms[i] * norms[j]) for j in n] for i in n]
    importance = [weights[0] * sum(graph[i]) + weights[1] * noise[i] for i in n]
    dst = [max(tile, key=lambda token: importance[token]) for tile in tiles]
    src = [token for token in n if token not in dst]
    best = [max(graph[token][other] for other in dst) for token in src]
    dropped = {src[i] for i in order_of(best, -1)[:removed]}
    kept = [token for token in n if token not in dropped]
    copied = [max(kept, key=lambda other: graph[i][other]) if i in dropped else i for i in n]
    return kept, [kept.index(token) for token in copied]


def tiles(h: int, w: int, side: int) -> list[list[int]]:
    """Tiles of equal sides together: complete ones, then those at the right, bottom, corner."""
    found: dict[tuple[bool, bool], list[list[int]]] = {}
    for top in range(0, h, side):
        for left in range(0, w, side):
            rows, columns = range(top, min(top + side, h)), range(left, min(left + side, w))
            kind = (top + side > h, left + side > w)
            found.setdefault(kind, []).append([y * w + x for y in rows for x in columns])
    return [tile for kind in sorted(found) for tile in found[kind]]


def facility(similar: list[list[float]], count: int) -> list[int]:
    """Greedy facility location: what adds most to sum_i max_j S_ij, the first if (almost) equal."""
    n, chosen, covered = range(len(similar)), list[int](), list[float]()
    for _ in range(count):
        gains = [
            sum(max(similar[i][j] - covered[i], 0) if covered else similar[i][j] for i in n)
            for j in n
        ]
        most = max(gains[j] for j in n if j not in chosen)
        chosen.append(next(j for j in n if j not in chosen and gains[j] >= most - 1e-5))
        covered = [max(similar[i][j] for j in chosen) for i in n]
    return chosen


def toma(metric: Array, tile: list[int], count: int, tau: float, rule: str) -> tuple[Array, Array]:
    """Destinations of one tile (token numbers, ascending), and A (D, n)."""
    similar = [[cosine(metric[i], metric[j]) for j in tile] for i in tile]
    chosen = facility(similar, count)
    if rule == "representative":
        chosen = order_of([sum(row) for row in similar], -1)[:count]
    chosen = sorted(chosen)
    columns = []
    for i in range(len(tile)):
        logits = [similar[j][i] for j in chosen]
        nearest = chosen.index(i) if i in chosen else order_of(logits, -1)[0]
        hard = [float(place == nearest) for place in range(count)]
        soft = [] if tau == math.inf else [math.exp(tau * (a - max(logits))) for a in logits]
        columns.append([a / sum(soft) for a in soft] or hard)
    return np.array([tile[j] for j in chosen]), np.array(columns).T


def nearest(x: Array, h: int, w: int, s: int, align: str = "reference") -> Array:
    rows, columns = h // s, w // s
    height, width = (h, w) if align == "reference" else (rows * s, columns * s)
    return np.array(
        [
            x[math.floor((i + 0.5) * height / rows) * w + math.floor((j + 0.5) * width / columns)]
            for i in range(rows)
            for j in range(columns)
        ]
    )


def average(x: Array, h: int, w: int, s: int, align: str = "reference") -> Array:
    rows, columns = h // s, w // s
    high, wide = (h // rows, w // columns) if align == "reference" else (s, s)
    pooled = []
    for i in range(rows):
        for j in range(columns):
            total = np.zeros(x.shape[1])
            for dy in range(high):
                for dx in range(wide):
                    total += x[(i * high + dy) * w + j * wide + dx]
            pooled.append(total / (high * wide))
    return np.array(pooled)


@pytest.fixture(scope="session")
def slow() -> SimpleNamespace:
    return SimpleNamespace(
        as_released=as_released,
        average=average,
        cells=cells,
        cosine=cosine,
        facility=facility,
        lowest_of_each_cell=lowest_of_each_cell,
        merge=merge,
        nearest=nearest,
        order_of=order_of,
        pool_tiles=pool_tiles,
        score=score,
        sito=sito,
        tiles=tiles,
        toma=toma,
    )


@pytest.fixture(scope="session", params=[(4, 4), (5, 4), (6, 7), (13, 11)], ids=str)
def grid(request: pytest.FixtureRequest) -> tuple[int, int]:
    sides: tuple[int, int] = request.param
    return sides
