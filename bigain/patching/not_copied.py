"""What hooks a model and belongs to this one only: it cannot be copied or saved with it."""

from typing import Any, NoReturn, SupportsIndex

import torch

from bigain.errors import UserError
from bigain.operators import Compression

__all__ = ["NotCompiled", "NotCopied"]


class NotCopied:
    """Hooks of an applied operator: a copy of them would act on the original's forwards."""

    def __init__(self, operator: Compression) -> None:
        self._name = repr(operator)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse copies and pickles, so those of the model as well."""
        raise UserError(
            f"model: has {self._name} applied and cannot be copied or saved as an object; call "
            "bigain.remove(model) first, or save model.state_dict()"
        )


class NotCompiled(NotCopied):
    """A function that `torch.compile` calls and does not trace."""

    def __init__(self, function: Any, operator: Compression) -> None:
        super().__init__(operator)
        self._function = torch.compiler.disable(function)

    def __call__(self, *args: object) -> None:
        """Call the function."""
        self._function(*args)
