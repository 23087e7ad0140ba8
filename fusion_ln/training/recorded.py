"""Recorded passes: on a GPU, the forward and backward pass of a network as one launch each, in place of hundreds."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fusion_ln.compute.memory import is_out_of_memory
from fusion_ln.errors import in_short
from fusion_ln.models.backbones import Backbone
from fusion_ln.progress import say


@contextmanager
def recorded_passes(model: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Replay the passes of a model's one network as CUDA graphs while the context is open.

    A GPU computes the kernels of a small network faster than one core can launch them. A graph holds the shapes of the
    first training batch; other batches, and validation, are computed as ever. Without effect on a CPU, and for models
    of several networks, whose batches differ from step to step.

    Args:
        model: The model, on its device.
        wanted: False where gradients of several batches are summed (a graph's are overwritten by the next batch), parts
            of the network rest, or processes share the fit.
    """
    networks = [module for module in model.modules() if isinstance(module, Backbone)]
    if not wanted or len(networks) != 1 or next(networks[0].parameters()).device.type != "cuda":
        yield
        return
    (network,) = networks
    network.forward = _Recorded(network, network.forward)  # type: ignore[method-assign]
    # Recorded on a stream of its own, as it must be, which torch warns of at every fit.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    try:
        yield
    finally:
        del network.forward  # that of its class again
        for weight in network.parameters():
            weight.grad = None  # gradients lie in the memory of the graphs
        gc.collect()  # which is held by a ring of objects, gigabytes that Python does not see
        torch.cuda.empty_cache()


@dataclass
class _Recorded:
    """Forward pass of a network, recorded with the first batch that it learns from."""

    network: nn.Module
    plain: Callable[[Tensor], Tensor]
    replay: Callable[[Tensor], Tensor] | None = None
    shape: torch.Size = field(default_factory=torch.Size)

    def __call__(self, pictures: Tensor) -> Tensor:
        if not (self.network.training and torch.is_grad_enabled()):
            return self.plain(pictures)
        if not self.shape:
            self.shape, self.replay = pictures.shape, self._record(pictures)
        if self.replay is None or pictures.shape != self.shape:
            return self.plain(pictures)
        return self.replay(pictures)

    def _record(self, pictures: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Record both passes; batch statistics and random numbers are afterwards as they were. None: it cannot be."""
        kept = [buffer.clone() for buffer in self.network.buffers()]
        module = _Plain(self.network, self.plain)
        recorded: Callable[[Tensor], Tensor] | None = module
        generator = torch.cuda.default_generators[pictures.device.index]
        before = generator.clone_state()
        # The weights are cast in every replay: a cast that autocast had kept would not follow them.
        fast = torch.autocast("cuda", torch.get_autocast_dtype("cuda"), cache_enabled=False)
        with torch.random.fork_rng([pictures.device]), fast if torch.is_autocast_enabled("cuda") else nullcontext():
            try:
                torch.cuda.make_graphed_callables(module, (pictures.detach().clone(),), allow_unused_input=True)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                say(f"The network's passes cannot be recorded ({in_short(error)}); it is trained step by step.")
                recorded = None
                generator.graphsafe_set_state(before)  # it would wait for ever for the end of the recording
        with torch.no_grad():
            for buffer, value in zip(self.network.buffers(), kept, strict=True):
                buffer.copy_(value)
        return recorded


class _Plain(nn.Module):
    """A network under its own forward pass, as the recorder takes it."""

    def __init__(self, network: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self._forward = forward

    def forward(self, pictures: Tensor) -> Tensor:
        return self._forward(pictures)
