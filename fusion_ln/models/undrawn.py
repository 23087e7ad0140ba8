"""Networks whose first weights are not drawn, since those of a file replace them at once."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

DRAWING = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_, init.normal_, init.uniform_, init.trunc_normal_),
    *(init.kaiming_normal_, init.kaiming_uniform_, init.xavier_normal_, init.xavier_uniform_),
}


class Undrawn(TorchFunctionMode):
    """Building of networks without drawing their first weights, which those of a file replace at once."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Leave a tensor as it is where it would be filled with random numbers."""
        named = dict(kwargs or {})  # some functions of `torch.nn.init` hand on their tensor by name
        return (*args, *named.values())[0] if func in DRAWING else func(*args, **named)
