"""Speed of the training loop beside a bare PyTorch loop and beside the loop that most research code has."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from fusion_ln.bench.matrices import FLOOR, count_operations, matrix_rate
from fusion_ln.bench.record import Figure
from fusion_ln.compute.device import accelerator_of
from fusion_ln.compute.fabric import make_fabric, precision_of
from fusion_ln.compute.threads import threads_per_fit
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.batches import Batches
from fusion_ln.models.backbones import memory_layout
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.precision import suited_precision
from fusion_ln.progress import progress
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.threads import cores
from fusion_ln.training.fit import train_epoch
from fusion_ln.training.recorded import recorded_passes
from fusion_ln.training.tasks import PictureTask

N_CLASSES = 3
COUNTED = 2  # pictures, since batch norms take no single one
SOURCE_SIDE = 512  # pixels a side of the files that the ImageFolder loop decodes
LOOPS = {"bare": "bare PyTorch loop, in memory", "research": "ImageFolder + DataLoader loop, float32"}


def fit_figures(settings: FitSettings, device: DeviceSettings, *, n_pictures: int, rounds: int) -> Iterator[Figure]:
    """Time the loops (see `bench_fit`), and set ours beside each other one and the operations of its network."""
    fabric = make_fabric(device, suited_precision(settings.precision, [settings], accelerator_of(device)))
    rates = bench_fit(settings, fabric, n_pictures=n_pictures, rounds=rounds)
    batch = f"batch {settings.batch_size}, {precision_of(fabric)}, {fabric.device.type}"
    task = f"training, a picture ({settings.backbone}, {settings.image_size} px, {batch})"
    ours = 1 / median(rates["ours"])
    floors = {title: 1 / median(rates[name]) for name, title in LOOPS.items()}
    kind = torch.bfloat16 if precision_of(fabric) == "bf16-mixed" else torch.float32
    floors[FLOOR] = _operations(settings) / matrix_rate(threads_per_fit(5), fabric.device, kind)
    for title, floor in floors.items():
        yield Figure(benchmark="fit", task=task, seconds=ours, floor=title, floor_seconds=floor)


def _operations(settings: FitSettings) -> float:
    """Count the operations of a training step, for a picture: three forward passes, as is the custom."""
    with torch.device("meta"), torch.no_grad():
        model = build_classifier(settings, N_CLASSES, weights="scratch").train()
        pictures = torch.zeros(COUNTED, 3, settings.image_size, settings.image_size)
        return 3 * count_operations(lambda: model(pictures)) / COUNTED


def bench_fit(settings: FitSettings, fabric: Fabric, *, n_pictures: int, rounds: int) -> dict[str, list[float]]:
    """Measure pictures per second of each loop, per round.

    The loops take turns, so that a machine that slows down slows all of them; the first round warms up and is
    not counted. All train the same network with Adam on the same number of pictures of noise.

    Returns:
        ``ours``: batches cut from a memory-mapped bank, augmentation, our loop, on a GPU with recorded passes.
        ``bare``: whole batches of floats already on the device, forward, backward, step, in the same precision and
        memory layout; both with the threads that a fit of five folds gets. ``research``: ImageFolder on PNG files,
        DataLoader with a worker per core, float32, all threads.
    """
    threads = {"ours": threads_per_fit(5), "bare": threads_per_fit(5), "research": cores()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        loops = {
            "ours": _ours(settings, fabric, Path(folder), n_pictures, stack),
            "bare": _bare(settings, fabric, n_pictures),
            "research": _research(settings, fabric, Path(folder), n_pictures),
        }
        rates: dict[str, list[float]] = {name: [] for name in loops}
        with progress("Timing", (rounds + 1) * len(loops)) as step:
            for number in range(rounds + 1):
                for name, loop in loops.items():
                    torch.set_num_threads(threads[name])
                    started = time.perf_counter()
                    n_trained = loop(number)
                    if fabric.device.type == "cuda":
                        torch.cuda.synchronize()
                    if number:
                        rates[name].append(n_trained / (time.perf_counter() - started))
                    step(name)
    return rates


def _ours(settings: FitSettings, fabric: Fabric, folder: Path, n: int, stack: ExitStack) -> Callable[[int], int]:
    file = folder / "bank.npy"
    rng = np.random.default_rng(0)
    np.save(file, rng.integers(0, 256, (n, 3, settings.image_size, settings.image_size), dtype=np.uint8))
    bank = ImageBank(np.load(file, mmap_mode="r"), np.arange(n).astype(str), np.arange(n) % N_CLASSES)
    batches = Batches(bank, np.arange(n), settings.batch_size, device=fabric.device)
    task = PictureTask("2d", build_classifier(settings, N_CLASSES))
    model, optimizer = fabric.setup(*_trainable(task.model, settings))
    stack.enter_context(recorded_passes(task.model, wanted=True))

    def epoch(number: int) -> int:
        train_epoch(task, model, batches.shuffled(number), optimizer, None, fabric)
        return len(batches) * settings.batch_size

    return epoch


def _bare(settings: FitSettings, fabric: Fabric, n: int) -> Callable[[int], int]:
    model, optimizer = fabric.setup(*_trainable(build_classifier(settings, N_CLASSES), settings))
    side, size = settings.image_size, settings.batch_size
    pictures = torch.rand(n, 3, side, side, device=fabric.device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(n, device=fabric.device) % N_CLASSES

    def epoch(number: int) -> int:
        model.train()
        for start in range(0, n // size * size, size):
            loss = F.cross_entropy(model(pictures[start : start + size]), labels[start : start + size])
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
        return n // size * size

    return epoch


def _research(settings: FitSettings, fabric: Fabric, folder: Path, n: int) -> Callable[[int], int]:
    rng = np.random.default_rng(0)
    for number in range(n):
        place = folder / "pictures" / str(number % N_CLASSES)
        place.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (SOURCE_SIDE // 8, SOURCE_SIDE // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((SOURCE_SIDE, SOURCE_SIDE)).save(place / f"{number}.png")
    steps = [
        transforms.Resize((settings.image_size, settings.image_size)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(10),
        transforms.ColorJitter(0.2, 0.2),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        ImageFolder(str(folder / "pictures"), transforms.Compose(steps)),
        batch_size=settings.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=cores(),
    )
    model = build_classifier(settings, N_CLASSES).to(fabric.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)

    def epoch(number: int) -> int:
        model.train()
        for pictures, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pictures.to(fabric.device)), labels.to(fabric.device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
        return len(loader) * settings.batch_size

    return epoch


def _trainable(model: torch.nn.Module, settings: FitSettings) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = model.to(memory_format=memory_layout(model))
    return model, torch.optim.Adam(model.parameters(), lr=settings.lr)
