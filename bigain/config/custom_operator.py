"""An operator of somebody else: a class in a module of theirs, named by a file in configs/operator.

    # configs/operator/top_half.yaml
    name: custom
    target: my_package.top_half.TopHalf
    arguments: {share: 0.5}
    scope: self

The class is built once when the configuration is checked, so that a wrong setting is told before
anything is loaded; only then, and only for such operators, does checking import torch.
"""

from importlib import import_module
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from bigain.config.base import not_allowed
from bigain.config.operator_base import OperatorSettings, Scope
from bigain.errors import UserError

__all__ = ["CustomConfig"]

Plain = bool | int | float | str | None


class CustomConfig(OperatorSettings):
    """A class that is a `bigain.operators.Compression`, and what it is built with."""

    name: Literal["custom"]
    target: str = Field(
        pattern=r"^\w+(\.\w+)+$", description="package.module.Class of an importable operator"
    )
    arguments: dict[str, Plain | list[Plain]] = Field(
        description="a mapping of the class's arguments, plain values or lists"
    )
    scope: Scope

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        try:
            self.build()
        except UserError as mistake:
            raise not_allowed("operator.arguments", self.arguments, str(mistake)) from mistake
        return self

    def build(self) -> Any:
        """The operator; lists become tuples.

        Raises:
            UserError: there is no such class, it takes no such arguments, or refuses their values.

        """
        arguments = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.arguments.items()
        }
        try:
            return self._class()(**arguments)
        except TypeError as error:
            raise UserError(f"what {self.target} takes ({error})") from error

    def _class(self) -> Any:
        from bigain.operators import Compression  # noqa: PLC0415 -- loads torch

        module, _, name = self.target.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UserError(f"a target that can be imported ({error})") from error
        if not (isinstance(found, type) and issubclass(found, Compression)):
            raise UserError(f"a target that is a bigain.operators.Operator; {self.target} is none")
        return found
