"""The published raw records of a profile, read without the package, for `scripts/recompute.py`."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from recompute_statistics import Floats, auc, best_wrong, counted

__all__ = ["FirstStage", "Run"]

THIRDS = {"low": (0, 1000 / 3), "mid": (1000 / 3, 2000 / 3), "high": (2000 / 3, 1000)}


class Run:
    """A published run.

    Args:
        folder: Of the profile, such as `results/mini`.
        name: The run id.

    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Configuration and origin."""
        path = self.folder / "manifests" / f"{self.name}.json"
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per image, or per measurement, by image id."""
        path = self.folder / "samples" / f"{self.name}.csv.gz"
        return pd.read_csv(path).set_index("image_id")

    @property
    def has_errors(self) -> bool:
        """Whether the errors of all classes in the first stage are published."""
        return (self.folder / "errors" / f"{self.name}.npz").is_file()

    @property
    def has_features(self) -> bool:
        """Whether the features of its generated images are published."""
        return (self.folder / "features" / f"{self.name}.npz").is_file()

    @cached_property
    def features(self) -> tuple[Floats, Floats]:
        """Of the generated images, in the order of the records, and of the real ones."""
        with np.load(self.folder / "features" / f"{self.name}.npz") as own:
            generated, name = own["features"].astype(float), str(own["reference"])
            assert own["image_ids"].tolist() == self.samples.index.tolist()
        with np.load(self.folder / "references" / f"{name}.npz") as other:
            return generated, other["features"].astype(float)

    def column(self, name: str) -> "pd.Series[float]":
        """A column as numbers."""
        return self.samples[name].astype(float)

    @cached_property
    def true_errors(self) -> "pd.Series[float]":
        """Mean error of the true class over the trials of the first stage, of each image."""
        texts = self.samples["true_errors"].dropna()
        lists = ((i, json.loads(text)) for i, text in zip(texts.index, texts, strict=True))
        return pd.Series({i: sum(own) / len(own) for i, own in lists if own}, dtype=float)

    @cached_property
    def labels(self) -> dict[int, list[int]]:
        """The true classes of each image."""
        images = self.samples.index.tolist()
        if "labels" in self.samples:
            return dict(zip(images, map(json.loads, self.samples["labels"]), strict=True))
        return {i: [own] for i, own in zip(images, self.samples["label"].tolist(), strict=True)}

    @cached_property
    def trials(self) -> "FirstStage":
        """The errors of the images that have them."""
        with np.load(self.folder / "errors" / f"{self.name}.npz") as found:
            whole = [i for i, each in enumerate(found["errors"]) if not np.isnan(each).any()]
            errors = found["errors"][whole].astype(float)
            images, times = found["image_ids"][whole].tolist(), found["timesteps"]
        truth = np.array([[c in self.labels[i] for c in range(errors.shape[2])] for i in images])
        return FirstStage(images, times, errors, truth)


class FirstStage:
    """Errors of all classes in the first stage, and the quantities of protocol 5."""

    def __init__(
        self, images: list[int], times: NDArray[np.int64], errors: Floats, truth: NDArray[np.bool_]
    ) -> None:
        self._images, self._times, self._errors, self._truth = images, times, errors, truth

    @cached_property
    def spread(self) -> Floats:
        """sigma_t of each trial."""
        centre = self._errors.mean(axis=2, keepdims=True)
        return np.asarray(np.sqrt(((self._errors - centre) ** 2).mean(axis=2)).mean(axis=0))

    @cached_property
    def level(self) -> Floats:
        """mu_t of each trial."""
        return np.asarray(np.nanmean(counted(self._errors, self._truth), axis=0))

    def margin(self, none: "FirstStage") -> "pd.Series[float]":
        """Best-wrong margin of each image, in sigma_t of the baseline."""
        return self._by_image(best_wrong(self._errors, self._truth) / none.spread)

    def auc(self) -> "pd.Series[float]":
        """Pairwise AUC of each image."""
        return self._by_image(auc(self._errors, self._truth)[:, None])

    def right(self) -> "pd.Series[float]":
        """Whether the class of the lowest mean error is true."""
        best = self._errors.mean(axis=1).argmin(axis=1)
        return self._by_image(self._truth[np.arange(len(best)), best].astype(float)[:, None])

    def noise(self, none: "FirstStage", third: str | None) -> "pd.Series[float]":
        """Error of the true class with equal weights per timestep, of all or of a third."""
        low, high = (0.0, 1000.0) if third is None else THIRDS[third]
        chosen = (self._times >= low) & (self._times < high)
        return self._by_image((counted(self._errors, self._truth) / none.level)[:, chosen])

    def _by_image(self, values: Floats) -> "pd.Series[float]":
        return pd.Series(values.mean(axis=1), index=self._images).dropna()
