"""timm without torch's compiler, which takes half of the time of ``import timm`` and which our networks never call."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

__all__ = ["resolve_model_data_config", "timm"]

PUT_OFF = "torch._dynamo.utils"


class _PutOff(ModuleType):
    """The compiler's module of which torchvision takes one function; anything else imports it after all."""

    @staticmethod
    def is_compile_supported(device_type: str) -> bool:
        """Ask the compiler, as torchvision does in networks that were compiled."""
        answer: bool = import_module(PUT_OFF).is_compile_supported(device_type)
        return answer

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system looks at these
            raise AttributeError(name)
        sys.modules.pop(PUT_OFF, None)
        return getattr(import_module(PUT_OFF), name)


def _left_to_compile(function: Callable[..., Any], *_: object, **__: object) -> Callable[..., Any]:
    """Leave a function of a network as it is: what is never compiled need not be kept from it."""
    return function


@contextmanager
def _without_compiler() -> Iterator[None]:
    stand_in = _PutOff(PUT_OFF)
    if sys.modules.setdefault(PUT_OFF, stand_in) is not stand_in:  # somebody's program has it
        yield
        return
    disable = torch.compiler.disable
    torch.compiler.disable = _left_to_compile  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules.get(PUT_OFF) is stand_in:
            del sys.modules[PUT_OFF]


with _without_compiler():
    import timm
    from timm.data import resolve_model_data_config
