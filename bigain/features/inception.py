"""Inception features as in pytorch-fid: the same network, preprocessing and weights.

An image is converted to RGB in [0, 1], resized to 299 x 299 (bilinear, without antialiasing) and
scaled to [-1, 1]; its features are the 2,048 means of the last pooling layer.  Images are resized
one by one, so they may have different sizes.  Source: pytorch-fid 0.3.0 (Seitzer 2020) with the
weights of Heusel et al. 2017, ported from TensorFlow.
"""

import logging
import pickle
from pathlib import Path
from unittest.mock import patch
from urllib.error import URLError

import torch
import torch.nn.functional as F
from pytorch_fid import inception as pytorch_fid_inception
from torch import Tensor, nn

from bigain.errors import UserError
from bigain.features.base import Image
from bigain.files import file_sha256

__all__ = ["WEIGHTS_SHA256", "WEIGHTS_URL", "InceptionExtractor", "check_weights", "find_weights"]

WEIGHTS_URL: str = pytorch_fid_inception.FID_WEIGHTS_URL
WEIGHTS_SHA256 = "6726825d"
"""First digits of the sha256 of the published weights, also part of their file name."""
_SIDE = 299
_LAYER = pytorch_fid_inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]
_LOG = logging.getLogger(__name__)


class InceptionExtractor:
    """Images of any size to Inception's features.

    Args:
        weights: A file of weights; None takes torch hub's cache, or downloads them into it.
        device: Where the network runs.
        dimension: 2048 for FID; 64, 192 and 768 are the earlier layers that pytorch-fid offers.

    Raises:
        UserError: No weights, or the file has something else.

    """

    name = "inception"
    metric = "fid"
    block = 16
    mode = "RGB"
    resize = "299 x 299, bilinear, by Inception itself"

    def __init__(
        self,
        weights: Path | None = None,
        device: torch.device | None = None,
        dimension: int = 2048,
    ) -> None:
        layers = pytorch_fid_inception.InceptionV3.BLOCK_INDEX_BY_DIM
        if dimension not in layers:
            raise UserError(f"dimension={dimension}: allowed: {', '.join(map(str, layers))}")
        path = find_weights(weights)
        digest = file_sha256(path)
        if not digest.startswith(WEIGHTS_SHA256):
            _LOG.warning("%s is not the published Inception; its distances are not FID", path)
        self.dimension = dimension
        self.revision = digest[:12]
        self._device = device or torch.device("cpu")
        self._network = _build(path, layers[dimension]).to(self._device)

    def prepare(self, image: Image) -> Tensor:
        """Bytes (H, W, 3), or (H, W) in grey, to (3, 299, 299) in [-1, 1]."""
        if image.dtype != "uint8" or image.ndim not in {2, 3} or image.shape[2:] not in {(), (3,)}:
            raise UserError(
                f"has dtype {image.dtype} and shape {image.shape}; allowed: uint8 of (H, W, 3) or "
                "(H, W)"
            )
        pixels = torch.tensor(image).reshape(*image.shape[:2], -1).permute(2, 0, 1)
        scaled = pixels.float().div(255).expand(3, -1, -1)
        resized = F.interpolate(scaled[None], (_SIDE, _SIDE), mode="bilinear", align_corners=False)
        return 2 * resized[0] - 1

    def features(self, block: Tensor) -> Tensor:
        """Features (16, dimension) of (16, 3, 299, 299)."""
        maps: Tensor = self._network(block.to(self._device))[0]
        return maps.mean(dim=(2, 3)).float().cpu()


def check_weights(path: Path) -> bool:
    """True for the published weights, False for other weights of Inception (which are loaded).

    Raises:
        UserError: The file has something else.

    """
    if file_sha256(path).startswith(WEIGHTS_SHA256):
        return True
    _build(path, _LAYER)
    return False


def find_weights(path: Path | None = None) -> Path:
    """The file of Inception's weights: `path`, or torch hub's cache, or a download into it.

    Raises:
        UserError: None of these exists; the message says what to do.

    """
    if path is not None:
        if not path.is_file():
            raise UserError(f"weights={path}: no such file; allowed: a copy of {WEIGHTS_URL}")
        return path
    cached = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_URL.rpartition("/")[2]
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(WEIGHTS_URL, str(cached), hash_prefix=WEIGHTS_SHA256)
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"weights: Inception is not in {cached}, and its download failed ({error}); put "
                f"{WEIGHTS_URL} there, or name a copy (task.extractor_weights=FILE for a run, "
                "--weights FILE for bigain fid), or use the mini extractor, whose distance is "
                "not FID"
            ) from None
    return cached


def _build(path: Path, layer: int) -> nn.Module:
    """pytorch-fid's network up to `layer`, with the weights of `path`, without its own resizing."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # pytorch-fid would download and unpickle weights while it builds; give it these instead.
        with patch.object(
            pytorch_fid_inception, "load_state_dict_from_url", lambda *_, **__: state
        ):
            network: nn.Module = pytorch_fid_inception.InceptionV3(
                [layer], resize_input=False, normalize_input=False
            )
    except (RuntimeError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"weights={path}: has no weights of Inception ({reason}); allowed: {WEIGHTS_URL}"
        ) from None
    return network.eval()
