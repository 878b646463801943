"""`task.images_per_forward=auto`: a number, before the run has a name.

Images per forward change the last bits of an image, so the number is part of the run id, and `auto`
is not: it is replaced before a run id is computed.  The number is measured without the operator, so
that runs of all operators have the same one and can be compared, and kept: another one would be
another run.
"""

from functools import partial

import torch

from bigain.config import GenerationConfig, RunConfig
from bigain.devices import choose_threads, device_name, limited_threads, resolve_device
from bigain.engine import build
from bigain.engine.cache_folder import check_cache, named_cache
from bigain.runs.identity import resolved
from bigain.tasks.batch_size import evaluations_per_second, kept_size, sufficient_size
from bigain.tasks.generation import conditions_of

__all__ = ["KEPT", "with_images_per_forward"]

KEPT = "images_per_forward.json"
"""The file in `paths.cache` that has the numbers."""


def with_images_per_forward(config: RunConfig) -> RunConfig:
    """The run with a number in place of `task.images_per_forward=auto`.

    Processes that start at the same time, such as shards of a run, measure once.

    Raises:
        UserError: Data, weights or device are not as configured, a single image does not fit the
            memory, the file of numbers is damaged, or the folder `paths.cache` cannot be used.
        FaultError: The disk of that folder is full or broken.

    """
    task, folder = config.task_as(GenerationConfig), config.paths.cache
    check_cache(config)
    device, plain = resolve_device(config.device), resolved(config)
    rows = 1 if task.guidance_scale == 1 else 2  # the unconditional half of a guided batch
    threads = choose_threads(config.threads, is_mini=config.backbone.is_mini)
    with named_cache(folder), limited_threads(threads.count):
        about = {
            "machine": device_name(device),
            "threads": torch.get_num_threads(),
            "dtype": plain["dtype"],
            "rows": rows,
            **{key: plain["backbone"].get(key) for key in ("name", "attention")},
        }
        number = kept_size(folder / KEPT, about, partial(_measured, config, device, rows))
    named = task.model_copy(update={"images_per_forward": number})
    return config.model_copy(update={"task": named})


def _measured(config: RunConfig, device: torch.device, rows: int) -> int:
    conditions = conditions_of(build.build_dataset(config.dataset))
    caches = build.build_caches(config)
    backbone = build.build_backbone(config.backbone, device, config.dtype, caches)
    backbone.condition_on(conditions.classes)
    return sufficient_size(lambda images: evaluations_per_second(backbone, device, rows * images))
