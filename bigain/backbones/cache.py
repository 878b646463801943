"""A disk cache for tensors that are expensive to compute: latents of images, prompt embeddings.

An entry's name is a hash of everything it was computed from.  So an entry is never out of date, and
any number of runs and processes may share a folder.  Entries are written atomically; a damaged
entry counts as missing.  When the folder exceeds its limit, the least recently used entries are
deleted.  A cache can be deleted at any moment without changing any result.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bigain.files import replace_file

__all__ = ["TensorCache"]

_LOG = logging.getLogger(__name__)
_GIGABYTE = 1e9
_KEPT = 0.9


class TensorCache:
    """Named tensors, found by the hash of what they were computed from.

    Args:
        folder: Folder of the entries; None disables the cache.
        gigabytes: Size (10^9 bytes) above which the least recently used entries are deleted.

    Attributes:
        hits: Entries that were found.
        misses: Entries that were computed.

    """

    def __init__(self, folder: Path | None, gigabytes: float) -> None:
        self._folder = folder
        self._bound = gigabytes * _GIGABYTE
        self._size: float | None = None
        self.hits = 0
        self.misses = 0

    def get(
        self, made_from: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The tensors that `compute` returns, read from disk if they were computed before.

        Args:
            made_from: Everything that the tensors depend on, as JSON data.
            compute: Makes the tensors; called only when there is no intact entry.

        """
        path = self._path(made_from)
        found = None if path is None else _read(path)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()}
        if path is not None:
            self._keep(path, tensors)
        return tensors

    def _path(self, made_from: Mapping[str, Any]) -> Path | None:
        if self._folder is None:
            return None
        text = json.dumps(dict(made_from), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest}.safetensors"

    def _keep(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Write an entry.  A full or read-only disk costs time, not the run."""
        try:
            replace_file(path, lambda temporary: save_file(tensors, temporary))
            written = path.stat().st_size
        except (OSError, SafetensorError) as error:
            _LOG.warning("%s: not kept (%s)", path.parent.parent, error)
            self._folder = None
            return
        self._size = self._measured() if self._size is None else self._size + written
        if self._size > self._bound:
            self._evict(spare=path)

    def _measured(self) -> float:
        return float(sum(size for _, size, _ in self._entries()))

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of last use, size, path) of every entry; other processes may delete some."""
        entries = []
        assert self._folder is not None
        for path in self._folder.glob("??/*.safetensors"):
            with contextlib.suppress(OSError):
                known = path.stat()
                entries.append((known.st_mtime_ns, known.st_size, path))
        return entries

    def surplus(self, spare: Path | None = None) -> list[tuple[Path, int]]:
        """(path, size) of the least recently used entries that are over the limit, except `spare`.

        Without them the folder has some room again; none if it is within its limit.
        """
        entries = sorted(self._entries()) if self._folder is not None else []
        size, surplus = float(sum(size for _, size, _ in entries)), []
        self._size = size
        for _, own, path in entries if size > self._bound else []:
            if size <= _KEPT * self._bound:
                break
            if path != spare:
                surplus.append((path, own))
                size -= own
        return surplus

    def _evict(self, spare: Path) -> None:
        """Delete the surplus; the entry just written stays."""
        for path, own in self.surplus(spare):
            with contextlib.suppress(OSError):
                path.unlink()
            assert self._size is not None
            self._size -= own


def _read(path: Path) -> dict[str, Tensor] | None:
    """An intact entry, marked as used now; None if there is none."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, SafetensorError, ValueError) as error:
        _LOG.warning("%s: is damaged and is computed again (%s)", path, error)
        return None
    with contextlib.suppress(OSError):
        path.touch()
    return tensors
