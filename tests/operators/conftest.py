"""Slow, loop-based transcriptions of the operators' definitions, independent of the package."""

import math
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
    owner: list[int]

    def reduce(self, x: Array) -> Array:
        rows = []
        for members in self.places:
            total = np.zeros(x.shape[1])
            for token in members:
                total += x[token]
            rows.append(total / len(members))
        return np.array(rows)

    def restore(self, y: Array) -> Array:
        return np.array([y[place] for place in self.owner])


def cells(h: int, w: int, sy: int, sx: int) -> list[list[int]]:
    return [
        [(cy * sy + dy) * w + cx * sx + dx for dy in range(sy) for dx in range(sx)]
        for cy in range(h // sy)
        for cx in range(w // sx)
    ]


def laplacian_l1(x: Array, h: int, w: int) -> list[float]:
    scores = []
    for row in range(h):
        for column in range(w):
            response = -4 * x[row * w + column]
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if 0 <= row + dy < h and 0 <= column + dx < w:
                    response = response + x[(row + dy) * w + column + dx]
            scores.append(float(sum(abs(value) for value in response)))
    return scores


def lowest_of_each_cell(scores: list[float], grid_cells: list[list[int]]) -> list[int]:
    chosen = []
    for members in grid_cells:
        best = members[0]
        for token in members[1:]:
            if scores[token] < scores[best]:
                best = token
        chosen.append(best)
    return chosen


def cosine(a: Array, b: Array) -> float:
    norms = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / norms if norms else 0.0


def merge(metric: Array, dst: list[int], removed: int) -> Merged:
    src = [token for token in range(len(metric)) if token not in dst]
    pointers = []
    for token in src:
        similarities = [cosine(metric[token], metric[other]) for other in dst]
        target = max(range(len(dst)), key=lambda j: (similarities[j], -j))
        pointers.append((similarities[target], token, target))
    pointers.sort(key=lambda pointer: (-pointer[0], pointer[1]))
    merged = {token: target for _, token, target in pointers[:removed]}
    kept = [token for token in src if token not in merged]
    places = [[token] for token in kept] + [[token] for token in dst]
    for token, target in sorted(merged.items()):
        places[len(kept) + target].append(token)
    owner = [0] * len(metric)
    for place, members in enumerate(places):
        for token in members:
            owner[token] = place
    return Merged(places, owner)


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


def average(x: Array, h: int, w: int, s: int) -> Array:
    pooled = []
    for i in range(h // s):
        for j in range(w // s):
            total = np.zeros(x.shape[1])
            for dy in range(s):
                for dx in range(s):
                    total += x[(i * s + dy) * w + j * s + dx]
            pooled.append(total / (s * s))
    return np.array(pooled)


@pytest.fixture(scope="session")
def slow() -> SimpleNamespace:
    return SimpleNamespace(
        average=average,
        cells=cells,
        cosine=cosine,
        laplacian_l1=laplacian_l1,
        lowest_of_each_cell=lowest_of_each_cell,
        merge=merge,
        nearest=nearest,
    )


@pytest.fixture(scope="session", params=[(4, 4), (5, 4), (6, 7), (9, 9), (13, 9)], ids=str)
def grid(request: pytest.FixtureRequest) -> tuple[int, int]:
    sides: tuple[int, int] = request.param
    return sides
