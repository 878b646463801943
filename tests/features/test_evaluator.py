from typing import Any

import numpy as np
import pytest

from bigain.errors import UserError
from bigain.features.base import extract
from bigain.features.evaluator import GenerationEvaluator
from bigain.features.reference import Reference, compute_reference
from bigain.metrics import (
    FewImagesWarning,
    Metric,
    frechet_with_interval,
    generation_metrics,
    wilson,
)
from bigain.runs.files import Evaluation


def images(n: int, seed: int, level: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return list(generator.integers(level, 200 + level, (n, 6, 6), dtype=np.uint8))


def reference_of(corners: Any) -> Reference:
    return compute_reference(extract(corners, images(50, 1)), {})


def records(n: int) -> list[dict[str, Any]]:
    return [{"image_id": i, "label": i % 2} for i in range(n)]


def evaluate(corners: Any, made: list[Any], **options: Any) -> Evaluation:
    reference = reference_of(corners)
    evaluator = GenerationEvaluator(corners, lambda: reference, **options)
    return evaluator.evaluate(made, records(len(made)))


def test_metrics_of_the_set_and_a_value_of_each_image(corners: Any) -> None:
    made, reference = images(30, 2, level=20), reference_of(corners)
    evaluation, features = evaluate(corners, made), extract(corners, made)
    expected = generation_metrics(
        "frechet_mini", features, reference.moments, reference.features, 0
    )
    assert evaluation.metrics == expected
    values = np.array([record["frechet_value"] for record in evaluation.records])
    distance = frechet_with_interval(features, reference.moments)
    assert values.mean() == pytest.approx(distance.value, rel=1e-12)
    assert np.ptp(values) > 0
    assert [{k: r[k] for k in ("image_id", "label")} for r in evaluation.records] == records(30)
    assert "prediction" not in next(iter(evaluation.records))


def test_class_agreement_is_the_share_of_images_predicted_as_their_class(corners: Any) -> None:
    def classify(features: Any) -> Any:
        return (np.arange(len(features)) % 4 == 1).astype(np.int64)

    evaluation = evaluate(corners, images(20, 3), classify=classify)
    # labels 0 1 0 1 ..., predictions 0 1 0 0 ...: three of four agree
    agreement = evaluation.metrics[-1]
    low, high = wilson(15, 20)
    assert agreement == Metric("class_agreement", 75.0, 20, 100 * low, 100 * high, "percent")
    assert [r["correct"] for r in list(evaluation.records)[:4]] == [True, True, True, False]


def test_few_images_give_a_warning_and_mixed_sizes_an_error(corners: Any) -> None:
    with pytest.warns(FewImagesWarning):
        evaluate(corners, images(3, 3))
    with pytest.raises(UserError, match="7x6"):
        evaluate(corners, [*images(3, 3), np.zeros((7, 6), dtype=np.uint8)])
