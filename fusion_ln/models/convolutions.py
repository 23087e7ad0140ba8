"""Count of the multiplications and outputs of a network, and of its depthwise convolutions."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


class Convolutions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count while the context is open, of tensors of shapes alone, too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs = 0  # of all convolutions and products
        self._multiplications = self._depthwise = 0

    @property
    def depthwise(self) -> float:
        """Outputs of depthwise convolutions per multiplication of all layers."""
        return self._depthwise / max(1, self._multiplications)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            weight, groups = args[1], args[8]
            self._multiplications += out.numel() * weight[0].numel()
            self._depthwise += out.numel() if groups == len(weight) > 1 else 0
            self.outputs += out.numel()
        elif func in PRODUCTS:
            self._multiplications += out.numel() * args[-1].shape[-2]
            self.outputs += out.numel()
        return out
