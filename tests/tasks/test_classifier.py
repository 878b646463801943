import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.errors import UserError
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

PROTOCOLS = [
    ((5, 20), (5, 1)),
    ((3,), (1,)),
    ((2, 5, 20), (6, 3, 1)),
    ((2, 3, 4), (5, 3, 1)),  # the second stage has no timestep of its own
]
CPU = torch.device("cpu")


def make(
    backbone: Backbone, trials: tuple[int, ...], keep: tuple[int, ...], batch_size: int = 16
) -> DiffusionClassifier:
    protocol = StagedProtocol(trials, keep)
    return DiffusionClassifier(
        backbone, protocol, LOSSES["l2"], seed=4, batch_size=batch_size, device=CPU
    )


def one(classifier: DiffusionClassifier, image_id: int, latents: Tensor) -> Classification:
    return next(classifier.classify([(image_id, latents)]))


def plain_loop(
    backbone: Backbone, protocol: StagedProtocol, image_id: int, latents: Tensor
) -> tuple[int, dict[int, dict[int, float]]]:
    """Classes and trials one by one, as the protocol reads, errors summed in double precision."""
    alive = list(range(backbone.num_classes))
    errors: dict[int, dict[int, float]] = {c: {} for c in alive}
    for timesteps, keep in zip(protocol.stages(), protocol.keep_list, strict=True):
        for t in timesteps:
            eps = keyed_noise(4, "classification", image_id, t, shape=tuple(latents.shape))
            abar = float(backbone.schedule.alphas_cumprod[t])
            noisy = math.sqrt(abar) * latents + math.sqrt(1 - abar) * eps
            for c in alive:
                predicted = backbone.predict_noise(noisy, torch.tensor([t]), torch.tensor([c]))
                errors[c][t] = float((predicted - eps).double().square().mean())
        ranked = sorted(alive, key=lambda c: sum(errors[c].values()) / len(errors[c]))
        alive = sorted(ranked[:keep])
    return alive[0], errors


def equal(a: Classification, b: Classification) -> bool:
    same = torch.allclose(a.errors, b.errors, atol=1e-6, rtol=0, equal_nan=True)
    return same and a.prediction == b.prediction


@pytest.mark.parametrize(("trials", "keep"), PROTOCOLS)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_equals_the_plain_loop(
    backbone: Backbone, trials: tuple[int, ...], keep: tuple[int, ...], batch_size: int
) -> None:
    for image_id in range(5):
        latents = keyed_noise(0, "image", image_id, shape=(1, 1, 8, 8))
        result = one(make(backbone, trials, keep, batch_size), image_id, latents)
        prediction, errors = plain_loop(backbone, StagedProtocol(trials, keep), image_id, latents)
        assert result.prediction == prediction
        for c, by_time in errors.items():
            column = result.errors[:, c]
            taken = {t: float(e) for t, e in zip(result.timesteps, column, strict=True)}
            for t, error in taken.items():
                assert (t in by_time) == (not math.isnan(error))
                assert t not in by_time or abs(error - by_time[t]) < 1e-6
            assert abs(float(result.scores[c]) - sum(by_time.values()) / len(by_time)) < 1e-6


@pytest.mark.parametrize("room", [1, 3, 10])
def test_memory_that_runs_out_changes_no_result(backbone: Backbone, room: int) -> None:
    latents = {i: keyed_noise(0, "image", i, shape=(1, 1, 8, 8)) for i in range(3)}
    expected = {i: one(make(backbone, (5, 20), (5, 1)), i, x) for i, x in latents.items()}
    original = backbone.predict

    def predict(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        if len(latents) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(latents, timesteps, classes)

    backbone.predict = predict  # type: ignore[method-assign]
    classifier = make(backbone, (5, 20), (5, 1))
    for i, x in latents.items():
        assert equal(one(classifier, i, x), expected[i])
    assert classifier.micro_batch == {1: 1, 3: 2, 10: 8}[room]


def test_pruned_classes_keep_their_first_trials_only(backbone: Backbone) -> None:
    result = one(make(backbone, (5, 20), (5, 1)), 0, torch.zeros(1, 1, 8, 8))
    assert sorted(result.trials.tolist()) == [5] * 5 + [20] * 5
    assert result.first_stage == 5
    assert result.scores[result.prediction] == result.scores[result.trials == 20].min()


def test_noise_does_not_depend_on_the_class_but_on_seed_image_and_time(backbone: Backbone) -> None:
    seen: list[Tensor] = []
    original = backbone.predict

    def spy(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        seen.append(latents.clone())
        return original(latents, timesteps, classes)

    backbone.predict = spy  # type: ignore[method-assign]
    one(make(backbone, (3,), (1,), batch_size=10), 0, torch.zeros(1, 1, 8, 8))
    assert len(seen) == 3
    assert all(torch.equal(batch, batch[:1].expand_as(batch)) for batch in seen)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_ties_go_to_the_lower_class(backbone: Backbone) -> None:
    backbone.predict = lambda latents, *_: torch.zeros_like(latents)  # type: ignore[method-assign]
    result = one(make(backbone, (5, 20), (5, 1)), 0, torch.zeros(1, 1, 8, 8))
    assert result.prediction == 0
    assert result.trials.tolist() == [20] * 5 + [5] * 5


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True).map(sorted),
    st.integers(0, 3),
)
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_valid_protocol_classifies(
    backbone: Backbone, trials: list[int], image_id: int
) -> None:
    keep = tuple(range(len(trials), 0, -1))
    latents = keyed_noise(0, "image", image_id, shape=(1, 1, 8, 8))
    protocol = StagedProtocol(tuple(trials), keep)
    result = one(make(backbone, tuple(trials), keep), image_id, latents)
    assert int(result.trials.sum()) == protocol.evaluations(10)
    assert int(result.trials[result.prediction]) == len(result.timesteps)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_overflow_is_named_and_never_taken_for_a_pruned_class(
    backbone: Backbone, value: float
) -> None:
    original = backbone.predict

    def overflowing(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        prediction = original(latents, timesteps, classes)
        prediction[(timesteps == 325) & (classes == 4)] = value
        return prediction

    backbone.predict = overflowing  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"image_id=7: .*timestep 325, class 4 .*dtype=float32"):
        one(make(backbone, (5, 20), (5, 1)), 7, torch.zeros(1, 1, 8, 8))


# Losses.


@pytest.mark.parametrize(("name", "expected"), [("l2", 2.5), ("l1", 1.5), ("huber", 1.0)])
def test_value_on_a_known_difference(name: str, expected: float) -> None:
    prediction = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]])
    errors = LOSSES[name](prediction, torch.zeros_like(prediction))
    assert torch.allclose(errors, torch.tensor([expected, 0.0]))


@given(st.integers(0, 2**31), st.sampled_from(sorted(LOSSES)))
def test_one_error_per_sample_that_ignores_its_neighbours(seed: int, name: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn((2, 3, 4, 5, 5), generator=generator)
    errors = LOSSES[name](a, b)
    assert errors.shape == (3,)
    assert torch.allclose(errors[1], LOSSES[name](a[1:2], b[1:2])[0])
    assert bool((errors >= 0).all())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_predictions_are_accumulated_in_fp32(name: str) -> None:
    prediction = torch.full((1, 4, 64, 64), 200.0, dtype=torch.float16)
    error = LOSSES[name](prediction, torch.zeros(1, 4, 64, 64))
    assert error.dtype == torch.float32
    assert bool(error.isfinite().all())
