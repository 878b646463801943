"""The features of a finished generation, from its images: nothing is generated again.

For runs that were made before features were kept (`bigain.runs.features`), while their images are
still there.
"""

import sys

from pydantic import ValidationError

from bigain.config import GenerationConfig, RunConfig
from bigain.config.messages import format_validation_error
from bigain.devices import resolve_device
from bigain.engine.build import build_evaluator
from bigain.errors import UserError
from bigain.runs.archive_csv import metrics_of, read_own_rows
from bigain.runs.check import compare_metrics
from bigain.runs.features import FEATURES, write_features
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.runs.images import IMAGES, RunImages, is_complete
from bigain.runs.store import RunStore

__all__ = ["keep_features"]


def keep_features(store: RunStore) -> str | None:
    """Write the features of a finished generation into its folder, if it has none yet.

    Returns:
        Why it has none now; None if it has them, or is no generation.

    Raises:
        UserError: An image was changed, or the features do not give the metrics of the run: the
            real images or the extractor are others than those that it was evaluated with.

    """
    config = _config(store)
    if not isinstance(config.task, GenerationConfig) or (store.folder / FEATURES).is_file():
        return None
    if not is_complete(config, store):
        return "its images are gone"
    records = read_csv(store.folder / SAMPLES, text=("sha256",))
    images = RunImages(store.folder, len(records), config.task.image_format)
    images.check(records)
    evaluator = build_evaluator(config, resolve_device(config.device), progress=sys.stderr.isatty())
    evaluation = evaluator.evaluate(images, records)
    if evaluation.features is None:
        return "its extractor gives too many, or its reference has none"
    stated = metrics_of(read_own_rows(store.folder))
    found = {metric.metric: metric for metric in evaluation.metrics}
    compare_metrics(str(store.folder / METRICS), stated, found, store.folder / IMAGES)
    with store.lock():
        write_features(store.folder, evaluation.features)
    return None


def _config(store: RunStore) -> RunConfig:
    try:
        return RunConfig.model_validate(store.manifest()["config"])
    except ValidationError as error:  # of a version with other settings
        raise UserError(f"run_id={store.run_id}: {format_validation_error(error)}") from error
