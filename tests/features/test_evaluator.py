from typing import Any

import numpy as np
import pytest

from bigain.errors import UserError
from bigain.features.base import extract
from bigain.features.evaluator import GenerationEvaluator
from bigain.features.reference import Reference, compute_reference
from bigain.metrics import FewImagesWarning, frechet_with_interval, generation_metrics


def images(n: int, seed: int, level: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return list(generator.integers(level, 200 + level, (n, 6, 6), dtype=np.uint8))


def reference_of(corners: Any) -> Reference:
    return compute_reference(extract(corners, images(50, 1)), {})


def records(n: int) -> list[dict[str, Any]]:
    return [{"image_id": i, "label": i % 2} for i in range(n)]


def test_the_metrics_are_those_of_the_set(corners: Any) -> None:
    made, reference = images(30, 2, level=20), reference_of(corners)
    evaluation = GenerationEvaluator(corners, lambda: reference, workers=0).evaluate(
        made, records(30)
    )
    features = extract(corners, made)
    expected = generation_metrics(
        "frechet_mini", features, reference.moments, reference.features, 0
    )
    assert evaluation.metrics == expected
    assert [m.metric for m in expected] == [
        "frechet_mini",
        "kid",
        "kid_error",
        "precision",
        "recall",
    ]


def test_the_values_of_images_average_to_the_distance(corners: Any) -> None:
    made, reference = images(30, 2, level=20), reference_of(corners)
    evaluation = GenerationEvaluator(corners, lambda: reference, workers=0).evaluate(
        made, records(30)
    )
    values = np.array([record["frechet_value"] for record in evaluation.records])
    distance = frechet_with_interval(extract(corners, made), reference.moments)
    assert values.mean() == pytest.approx(distance.value, rel=1e-12)
    assert np.ptp(values) > 0
    assert [{k: r[k] for k in ("image_id", "label")} for r in evaluation.records] == records(30)
    assert "prediction" not in evaluation.records[0]


def test_a_classifier_tells_which_images_are_what_they_should_be(corners: Any) -> None:
    reference = reference_of(corners)
    evaluator = GenerationEvaluator(
        corners,
        lambda: reference,
        classify=lambda features: (np.arange(len(features)) % 4 == 1).astype(np.int64),
        workers=0,
    )
    evaluation = evaluator.evaluate(images(20, 3), records(20))
    # labels 0 1 0 1 ..., predictions 0 1 0 0 ...: three of four agree
    agreement = evaluation.metrics[-1]
    assert (agreement.metric, agreement.value, agreement.n) == ("class_agreement", 75.0, 20)
    assert agreement.ci_low < 75 < agreement.ci_high
    assert [r["correct"] for r in evaluation.records[:4]] == [True, True, True, False]


def test_few_images_are_said_to_be_few(corners: Any) -> None:
    reference = reference_of(corners)
    with pytest.warns(FewImagesWarning):
        GenerationEvaluator(corners, lambda: reference, workers=0).evaluate(
            images(3, 3), records(3)
        )


def test_sizes_do_not_mix(corners: Any) -> None:
    reference = reference_of(corners)
    mixed = [*images(3, 3), np.zeros((7, 6), dtype=np.uint8)]
    with pytest.raises(UserError, match="7x6"):
        GenerationEvaluator(corners, lambda: reference, workers=0).evaluate(mixed, records(4))
