"""Races over made-up errors whose covariance is known."""

from typing import Any

import torch
from torch import Tensor

from bigain.tasks.protocol import Decision, Ledger
from bigain.tasks.race_model import WEIGHTS, RaceModel, greedy_order
from bigain.tasks.race_rules import GaussianRule
from bigain.tasks.racing import RacingProtocol, decide

RULE: dict[str, Any] = {"z": 2.54, "minimum": 2, "looks": None}


def positive(trials: int, seed: int = 0) -> Tensor:
    """A covariance without structure."""
    root = torch.randn(trials, trials, generator=torch.Generator().manual_seed(seed)).double()
    return root @ root.T + 0.1 * torch.eye(trials)


def model_of(s: Tensor, weights: str = "ones") -> RaceModel:
    """The model whose order is that of its covariance."""
    own = WEIGHTS[weights](s)
    return RaceModel(s, own, greedy_order(s, own))


def drawn(s: Tensor, images: int, classes: int, seed: int = 0) -> Tensor:
    """Errors with covariance `s`, shape (images, trials, classes)."""
    root = torch.linalg.cholesky(s)
    generator = torch.Generator().manual_seed(seed)
    plain = torch.randn(images, len(s), classes, generator=generator, dtype=torch.float64)
    errors: Tensor = root @ plain
    return errors


def protocol_of(
    s: Tensor, audit: float = 0.0, weights: str = "ones", **changed: Any
) -> RacingProtocol:
    """A race with the model of `s`, the rule `RULE` with changes."""
    rule = GaussianRule(model_of(s, weights), **{**RULE, **changed})
    return RacingProtocol(rule, audit, seed=0)


def race(
    table: Tensor,
    s: Tensor,
    audit: float = 0.0,
    weights: str = "ones",
    image_id: int = 0,
    **changed: Any,
) -> Decision:
    """The decision about one image whose errors, on the grid, are `table` (trials, classes)."""
    return decide(protocol_of(s, audit, weights, **changed), image_id, table)


def spent_of(decision: Decision) -> float:
    """What a rule with a model promises."""
    spent = ledger_of(decision).spent
    assert spent is not None
    return spent


def ledger_of(decision: Decision) -> Ledger:
    """The ledger of a race."""
    assert decision.ledger is not None
    return decision.ledger
