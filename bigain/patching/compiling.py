"""Run a denoiser as the code that `torch.compile` makes of it.

A small denoiser is compiled as a whole.  A large one repeats its blocks: these are compiled in its
place, which takes less time, and equal blocks share their code.  A denoiser without such blocks is
compiled as a whole.  Hooks (an operator, shared rows)
are traced with the module that they belong to.

Every size of a batch has its own code, made at its first forward.  The classifier's batches have
one size for each number of classes.
"""

import errno
import logging
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from bigain.errors import UserError

__all__ = ["Compiled", "forget_compiled", "require_compiler"]

_LOG = logging.getLogger(__name__)

_REPEATED = {
    *("BasicTransformerBlock", "ResnetBlock2D"),  # U-Nets and DiT
    *("JointTransformerBlock", "FluxTransformerBlock", "FluxSingleTransformerBlock"),
}
"""Classes of the blocks that diffusers' denoisers repeat."""

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_SIZES = 64
"""Most versions of one module, for other sizes or hooks; beyond, torch runs it uncompiled."""


class Compiled:
    """A context manager in which a denoiser runs compiled.

    Enter it after an operator was applied, and leave it before that is removed.

    Args:
        denoiser: A diffusers model.
        cache: Folder of code that earlier processes made; the environment variable
            `TORCHINDUCTOR_CACHE_DIR` wins.
        by_block: Compile the repeated blocks, not the whole, where there are any.

    Attributes:
        seconds: Time of the forwards that compiled something so far, s.
        graphs: Graphs that were compiled so far.

    """

    def __init__(self, denoiser: nn.Module, cache: Path, *, by_block: bool) -> None:
        blocks = [each for each in denoiser.modules() if type(each).__name__ in _REPEATED]
        self._modules = blocks if by_block and blocks else [denoiser]
        self._cache = cache
        self.seconds = 0.0
        self.graphs = 0
        self._open = ExitStack()

    @property
    def facts(self) -> dict[str, Any]:
        """Seconds and graphs, for the manifest."""
        return {"compiled": {"seconds": round(self.seconds, 2), "graphs": self.graphs}}

    def __enter__(self) -> Self:
        self._open.enter_context(_folder_of_code(self._cache))
        self._open.enter_context(_uncached_versions(self._modules))
        _LOG.info("compile=true: the first batches wait for the compiler")
        for module in self._modules:
            module.compile(dynamic=False, recompile_limit=_SIZES)
            module._compiled_call_impl = self._counted(module._compiled_call_impl)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from torch._dynamo.exc import BackendCompilerFailed  # noqa: PLC0415 -- slow to import

        for module in self._modules:
            module._compiled_call_impl = None
        forget_compiled()
        self._open.close()
        if self.graphs:
            _LOG.info("compile=true: %d graphs in %.1f s", self.graphs, self.seconds)
        if isinstance(error, BackendCompilerFailed):
            why = " ".join(str(error).split())[:300]
            raise UserError(
                f"compile=true: the compiler failed ({why}); allowed: false, or one that works"
            ) from error

    def _counted(self, call: Any) -> Callable[..., Any]:
        """`call`, with the calls timed that compile a graph first."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            before, began = _unique_graphs(), time.perf_counter()
            output = call(*args, **kwargs)
            new = _unique_graphs() - before
            if new:
                self.graphs += new
                self.seconds += time.perf_counter() - began
            return output

        return counted


def forget_compiled() -> None:
    """Discard compiled code, because `torch.compile` does not notice changed hooks.

    Old code would run without a new operator, or with a removed one.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def require_compiler(device: torch.device) -> None:
    """Make sure that code for `device` can be compiled here; nothing is compiled.

    Raises:
        UserError: A compiler or what it needs is missing.

    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    header = Path(sysconfig.get_path("include"), "Python.h")
    missing = []
    if shutil.which(compiler) is None:
        missing.append(f"no C++ compiler {compiler} (the environment variable CXX names another)")
    if not header.is_file():
        missing.append(f"no {header}")
    if device.type == "cuda":
        from torch.utils._triton import has_triton_package  # noqa: PLC0415

        if not has_triton_package():
            missing.append("no package triton")
    if missing:
        raise UserError(f"compile=true: there is {' and '.join(missing)} here; allowed: false")


@contextmanager
def _folder_of_code(cache: Path) -> Iterator[None]:
    """Let torch keep compiled code in `cache`, unless the user has named a folder.

    torch writes its own choice, a temporary folder, into the same environment variable.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # noqa: PLC0415

    before = os.environ.get(_CACHE)
    if before not in (None, default_cache_dir()):
        yield
        return
    cache.mkdir(parents=True, exist_ok=True)
    if not os.access(cache, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(cache))
    os.environ[_CACHE] = str(cache)
    try:
        yield
    finally:
        os.environ[_CACHE] = default_cache_dir()


@contextmanager
def _uncached_versions(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let the layers of `modules` ask for torch's version without the cache that diffusers has.

    torch traces the function below a cache and warns of that.  It is what it would trace anyway.
    """
    from diffusers.utils import is_torch_version  # noqa: PLC0415 -- slow to import

    name, plain = is_torch_version.__name__, getattr(is_torch_version, "__wrapped__", None)
    files = {type(layer).__module__ for module in modules for layer in module.modules()}
    using = [space for space in map(_names_in, files) if space.get(name) is is_torch_version]
    for space in using if plain else ():
        space[name] = plain
    try:
        yield
    finally:
        for space in using:
            space[name] = is_torch_version


def _names_in(module: str) -> dict[str, Any]:
    return vars(sys.modules[module])


def _unique_graphs() -> int:
    from torch._dynamo.utils import counters  # noqa: PLC0415

    return int(counters["stats"]["unique_graphs"])
