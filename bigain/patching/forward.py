"""One forward of a model with an operator: when it runs, its sample, its timesteps, its plans.

Everything that belongs to one forward is in one `Forward` object.  The model's own hooks open and
close it, so modules that are called outside a forward are refused.  Size and timesteps are seen
where they enter the model's layers (its first convolution, every `time_proj`), whatever replaced
or wrapped the model's call.

A backward pass that recomputes blocks (gradient checkpointing) runs after its forward is closed.  A
hook on the output's gradient tells which forward a backward pass belongs to.

`torch.compile` traces the hooks into the model's graph, except `ModelCall._close`, which counts
forwards: one graph break after the forward.
"""

import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from bigain.errors import UserError
from bigain.operators import Groups, RandomKey, Reduction
from bigain.operators.random_key import fingerprints
from bigain.operators.shared_plan import equal_rows
from bigain.patching.applied import Applied
from bigain.patching.not_copied import NotCompiled, NotCopied
from bigain.patching.report import Seen

__all__ = ["Forward", "ModelCall"]


@dataclass(eq=False)
class Forward:
    """What belongs to one forward of the model; sites are known by their names.

    Attributes:
        arguments: the tensors that the model was called with.
        sample: the model's input, as its first convolution received it; None before.
        timesteps: as the model's `time_proj` received them; None before.
        planned: sites that made a plan.
        shared: plans that the sites of a (stage, level) share.
        metrics: metric tensors of blocks whose self-attention has not been called yet.
        reductions: plan of each block.
        keys: tokens that keys were to be projected from, and those that they were projected from.
        seen: what the operator did, by the name of the module.
        on_cpu: the same timesteps on the CPU, if the caller has them there; else None.
        rows: which rows of the batch a site computes, where others only repeat them; on the device
            and on the CPU.
        groups: rows with the same sample and timestep; None before they are looked for.
        fingerprints: of the rows of `sample`; None before a draw asks for them.
        is_recomputed: whether a backward pass computes blocks again (gradient checkpointing).

    """

    arguments: tuple[Tensor, ...] = ()
    sample: Tensor | None = None
    timesteps: Tensor | None = None
    planned: set[str] = field(default_factory=set)
    shared: dict[tuple[str, int], Reduction] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)
    reductions: dict[str, Reduction] = field(default_factory=dict)
    keys: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    on_cpu: Tensor | None = None
    rows: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    groups: Groups | None = None
    fingerprints: Tensor | None = None
    is_recomputed: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the sample, after it was seen."""
        if self.sample is None:
            raise UserError("sample: the model's first convolution has not seen it in this forward")
        return int(self.sample.shape[-2]), int(self.sample.shape[-1])

    def narrowed(self, site: str, batch: Tensor) -> Tensor:
        """Those rows of a tensor about the whole batch that the module `site` computes."""
        rows = self.rows.get(site)
        if rows is None or batch.ndim == 0 or len(batch) == 1:
            return batch
        return batch[rows[batch.device.type == "cpu"]]

    def times_at(self, place: str) -> list[float]:
        """The timesteps of the rows that the module `place` computes; one stands for all rows."""
        if self.on_cpu is None:
            assert self.timesteps is not None
            self.on_cpu = self.timesteps.cpu()
        times: list[float] = self.narrowed(place, self.on_cpu.reshape(-1)).tolist()
        return times

    def draw_key(self, seed: int, site: str) -> RandomKey:
        """The key of the random draws of the module `site`."""
        whole = (self.timesteps, self.on_cpu, self.sample)
        own, on_cpu, sample = (
            each if each is None else self.narrowed(site, each) for each in whole
        )
        known = partial(self._fingerprints_at, site)
        return RandomKey(seed, site, own, self.inputs, on_cpu, sample, known=known)

    def _fingerprints_at(self, site: str) -> Tensor:
        """Those of the rows of the module `site`; computed once for all sites."""
        if self.fingerprints is None:
            assert self.sample is not None
            times = self.timesteps if self.on_cpu is None else self.on_cpu
            self.fingerprints = fingerprints(self.sample, times)
        return self.narrowed(site, self.fingerprints)

    def groups_at(self, site: str) -> Groups | None:
        """Rows of the module `site` that may share a plan; None where it computes one of each."""
        if site in self.rows or self.sample is None or self.timesteps is None:
            return None
        if self.groups is None:
            self.groups = equal_rows(self.sample, self.timesteps)
        return self.groups

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All tensors that this forward, or this pass within it, depends on; some may be twice."""
        seen = (each for each in (self.sample, self.timesteps) if each is not None)
        return (*self.arguments, *seen)


def _is_called(model: nn.Module, thread: int) -> bool:
    """Whether `thread` is inside a call of `model`; an interrupted forward has ended unnoticed."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__ and frame.f_locals.get("self") is model:
            return True
        frame = frame.f_back
    return False


class ModelCall(NotCopied):
    """The forward of a model that runs now, or that a backward pass recomputes.

    Attributes:
        model: the model that the operator was applied to.
        report: the report of the operator.
        on_cpu: the timesteps of the next forward, shape (B,), if its caller has them on the CPU.
        groups: its rows with the same sample and timestep, if its caller knows them.

    """

    def __init__(self, model: nn.Module, report: Applied) -> None:
        super().__init__(report.operator)
        self.model = model
        self.report = report
        self._forward: Forward | None = None
        self._thread: dict[str, int] = {}
        self._backward: tuple[int, Forward] | None = None
        self.on_cpu: Tensor | None = None
        self.groups: Groups | None = None

    @staticmethod
    def on(model: nn.Module) -> "ModelCall | None":
        """The call that hooks `model`; its `model` is another one if this is a copy of that."""
        hooks = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
        return next((owner for owner in hooks if isinstance(owner, ModelCall)), None)

    def install(self) -> list[RemovableHandle]:
        """Hook the model.

        Raises:
            UserError: it has no convolution or no `time_proj`.

        """
        named = list(self.model.named_modules())
        convolution = next((module for _, module in named if isinstance(module, nn.Conv2d)), None)
        # Deeper ones embed something else, such as the numbers of a video's frames.
        depths = {n: n.count(".") for n, _ in named if n.rpartition(".")[2] == "time_proj"}
        highest = min(depths.values(), default=0)
        clocks = [module for name, module in named if depths.get(name) == highest]
        if convolution is None or not clocks:
            missing = "convolution" if convolution is None else "time_proj"
            raise UserError(
                f"model={type(self.model).__name__}: has no {missing}; allowed: a diffusers "
                "denoiser, whose input enters a convolution and whose timesteps enter a module "
                "named time_proj"
            )
        close = NotCompiled(self._close, self.report.operator)
        return [
            self.model.register_forward_pre_hook(self._open, with_kwargs=True),
            self.model.register_forward_hook(close, always_call=True),
            convolution.register_forward_pre_hook(self._see_sample),
            *[clock.register_forward_pre_hook(self._see_timesteps) for clock in clocks],
        ]

    def forward_at(self, site: str) -> Forward:
        """The forward that calls the module `site` now.

        Raises:
            UserError: none does, or another thread's.

        """
        forward = self._forward
        if forward is None or not self._is_mine():
            forward = self._recomputed()
        if forward is None:
            raise UserError(
                f"site={site}: was called outside a forward of its model; call the model itself, "
                "not its method `forward` or one of its blocks"
            )
        # Checkpointed blocks run without gradients, although the output has one (`_close`).
        forward.is_recomputed |= not torch.is_grad_enabled()
        if forward.timesteps is None:
            raise UserError(
                f"site={site}: the model's time_proj has not seen the timestep in this forward; "
                "allowed: a model that computes its time embedding before its blocks"
            )
        return forward

    def _open(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling():
            self._check_caller(model)
        elif torch.compiler.is_exporting():
            raise UserError(f"{self._what}: cannot be exported; call bigain.remove(model) first")
        given = tree_leaves((args, kwargs))
        tensors = tuple(each for each in given if isinstance(each, Tensor))
        self._forward = Forward(tensors, on_cpu=self.on_cpu)

    def _check_caller(self, model: nn.Module) -> None:
        if model is not self.model:
            raise UserError(f"{self._what}: this is a copy of it; copy the model before applying")
        if torch._C._get_tracing_state() is not None:
            raise UserError(f"{self._what}: cannot be traced; call bigain.remove(model) first")
        # `setdefault` is one step, so of two threads that begin at once, one is refused.
        mine = threading.get_ident()
        owner = self._thread.setdefault("runs", mine)
        if owner != mine and _is_called(self.model, owner):
            raise UserError(
                f"{self._what}: a forward is running in another thread; allowed: one forward at a "
                "time, or a model for each thread"
            )
        self._thread["runs"] = mine

    @property
    def _what(self) -> str:
        return f"model={type(self.model).__name__}: has {self._name} applied"

    def _is_mine(self) -> bool:
        """Whether this thread runs the forward; compiled code keeps it to itself."""
        return torch.compiler.is_compiling() or (
            self._thread.get("runs", 0) in (0, threading.get_ident())
        )

    def _see_sample(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A sample enters: no plan of an earlier pass within the same call is used any more."""
        del module
        forward = self._forward
        if forward is not None and self._is_mine():
            forward.sample, forward.groups, forward.fingerprints = args[0], self.groups, None
            forward.shared.clear()
            forward.reductions.clear()

    def _see_timesteps(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        if self._forward is not None and self._is_mine():
            self._forward.timesteps = args[0]

    def _close(self, model: nn.Module, args: object, output: Any) -> None:
        """Count a forward; `output` is None if it failed."""
        del model, args
        if not self._is_mine():
            return
        self._thread.clear()
        forward, self._forward = self._forward, None
        if forward is None or output is None:
            return
        self.report.count(forward.seen)
        for each in tree_leaves(output):
            if isinstance(each, Tensor) and each.requires_grad:
                each.register_hook(partial(self._enter_backward, forward))

    def _enter_backward(self, forward: Forward, gradient: Tensor) -> None:
        del gradient
        if forward.is_recomputed and not self.report.active:
            raise UserError(
                f"model={type(self.model).__name__}: this backward pass computes blocks again, and "
                f"{self._name} was removed from them; allowed: backward before bigain.remove"
            )
        self._backward = (torch._C._current_graph_task_id(), forward)

    def _recomputed(self) -> Forward | None:
        """The forward whose blocks a running backward pass calls again."""
        if self._backward is None or torch.compiler.is_compiling():
            return None
        task, forward = self._backward
        return forward if task == torch._C._current_graph_task_id() else None
