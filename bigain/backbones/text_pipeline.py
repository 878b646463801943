"""What the text-conditioned backbones have in common: a class is a prompt."""

import hashlib
import json
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from bigain.backbones.base import Classes
from bigain.backbones.pipeline import Caches, Pipeline
from bigain.backbones.text import Prompts, encode_prompts
from bigain.backbones.weight_files import components_of
from bigain.config import HubBackboneConfig

__all__ = ["TextPipeline"]


class TextPipeline(Pipeline):
    """A pipeline whose conditions are encoded prompts; see `Pipeline`.

    Attributes:
        encoder: Encodes the prompts, one of `bigain.backbones.text`.

    """

    encoder: ClassVar[Callable[..., Prompts]] = staticmethod(encode_prompts)

    def __init__(
        self,
        config: HubBackboneConfig,
        device: torch.device,
        dtype: torch.dtype,
        caches: Caches,
    ) -> None:
        super().__init__(config, device, dtype, caches)
        self._made_by = self._text_files(config.name)
        self._pooled: Tensor | None = None

    def condition_on(self, classes: Classes) -> None:
        """Make the prompts of `classes` the conditions: class i is the i-th prompt."""
        prompts, empty = self.encode_prompts(classes.prompts), self.encode_prompts(("",))
        self.num_classes = len(classes.prompts)
        self.encoder_hidden_states = self._joined(prompts.context, empty.context)
        if prompts.pooled is not None and empty.pooled is not None:
            self._pooled = self._joined(prompts.pooled, empty.pooled)

    def encode_prompts(self, prompts: tuple[str, ...]) -> Prompts:
        """Embeddings of any prompts, on the CPU, in fp32; read from the cache if possible."""
        kept = self._caches.prompts.get(
            {"prompts": list(prompts), **self._made_by},
            lambda: _tensors(
                type(self).encoder(
                    self._folder, prompts, variant=self._variant, device=self._device
                )
            ),
        )
        return Prompts(kept["context"], kept.get("pooled"))

    def _joined(self, of_classes: Tensor, of_nothing: Tensor) -> Tensor:
        joined = torch.cat([of_classes, of_nothing])
        return joined.to(device=self._device, dtype=self._dtype)

    def _text_files(self, name: str) -> dict[str, str]:
        """Hash of everything that embeddings depend on: weights, settings and vocabularies."""
        parts = [part.folder for part in components_of(name)]
        texts = [part for part in parts if part.startswith(("text_encoder", "tokenizer"))]
        files = {n: h for n, h in self.hashes.items() if n.startswith("text_encoder")}
        for part in texts:
            for path in sorted((self._folder / part).glob("*.*")):
                if path.suffix in {".json", ".txt"}:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    files[f"{part}/{path.name}"] = digest
        return {"text": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()}


def _tensors(prompts: Prompts) -> dict[str, Tensor]:
    tensors = {"context": prompts.context}
    return tensors if prompts.pooled is None else {**tensors, "pooled": prompts.pooled}
