"""Does torch.compile train a network faster on this processor?

Question  How many pictures per processor second does a network train as it is, and compiled?
Command   python experiments/compiled.py resnet18 --side 224
Time      one to three minutes a network on two cores
Expect    0.89 to 1.05 times the pictures, after 29 to 73 processor seconds of compiling, 3 to 6 where torch's cache
          knows the network
          (it prints a row of benchmarks/compile.md)

One thread, batches of 16, bf16, channels last, fused AdamW; the better of three turns, both networks in turn.
"""

import argparse
import resource
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_ln.bench.page import table_row

BATCH, CLASSES, TURNS = 16, 3, 3


def stepper(network: nn.Module, forward: Callable[[Tensor], Tensor], side: int) -> Callable[[], None]:
    """Return a training step of a network on one batch of noise."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    pictures = torch.rand(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(forward(pictures), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def pictures_per_second(step: Callable[[], None], steps: int) -> float:
    """Time steps by processor seconds."""
    began = time.process_time()
    for _ in range(steps):
        step()
    return BATCH * steps / (time.process_time() - began)


def main() -> None:
    """Compile a network, time both, and print a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="Name in timm.")
    parser.add_argument("--side", type=int, default=224, help="Pixels a side.")
    parser.add_argument("--steps", type=int, default=3, help="Steps of a turn.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain, other = (
        timm.create_model(options.network, num_classes=CLASSES).to(memory_format=torch.channels_last).train()
        for _ in range(2)
    )
    steps = [stepper(plain, plain, options.side), stepper(other, torch.compile(other), options.side)]
    began = time.process_time()
    steps[1]()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # the compiler's
    compiling = time.process_time() - began + children.ru_utime + children.ru_stime
    turns = [[pictures_per_second(step, options.steps) for step in steps] for _ in range(TURNS)]
    eager, compiled = (max(rates) for rates in zip(*turns, strict=True))
    cells = [f"{options.network}, {options.side} px", f"{eager:.1f}", f"{compiled:.1f}", f"{compiled / eager:.2f}"]
    print(table_row([*cells, f"{compiling:.0f} s"]))


if __name__ == "__main__":
    main()
