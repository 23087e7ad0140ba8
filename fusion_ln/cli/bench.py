"""`fusionln bench`: measured speed."""

import click


@click.group()
def bench() -> None:
    """Measure how fast this machine trains."""


@bench.command()
@click.option("--backbone", default="resnet10t", show_default=True)
@click.option("--image-size", type=int, default=96, show_default=True)
@click.option("--batch-size", type=int, default=16, show_default=True)
@click.option("--pictures", type=click.IntRange(min=16), default=256, show_default=True, help="Per round.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def fit(backbone: str, image_size: int, batch_size: int, pictures: int, rounds: int, device: str) -> None:
    """Pictures per second of our loop, of a bare PyTorch loop, and of an ImageFolder + DataLoader loop."""
    from statistics import median

    from fusion_ln.runs import hardware, installed_versions
    from fusion_ln.settings import resolve_fit
    from fusion_ln.training.bench import bench_fit
    from fusion_ln.training.device import DeviceSettings, make_fabric, precision_of

    changes = {"backbone": backbone, "image_size": image_size, "batch_size": batch_size}
    settings = resolve_fit("fast", changes, "options")
    fabric = make_fabric(DeviceSettings(device=device), settings.precision)
    rates = bench_fit(settings, fabric, n_pictures=pictures, rounds=rounds)
    machine = hardware()
    where = machine["processor"] if fabric.device.type == "cpu" else "GPU"
    click.echo(
        f"{backbone}, {image_size} px, batch {batch_size}, {precision_of(fabric)}, {fabric.device.type}, "
        f"{machine['cores']} cores ({where}), torch {installed_versions()['torch']}, "
        f"median (lowest - highest) of {rounds} rounds of {pictures} pictures:"
    )
    titles = {"ours": "fusion_ln", "bare": "bare PyTorch, in memory", "research": "ImageFolder + DataLoader, float32"}
    for name, values in rates.items():
        click.echo(f"  {titles[name]:34} {median(values):8.1f} pictures/s  ({min(values):.1f} - {max(values):.1f})")
    for name in ("bare", "research"):
        ratios = [ours / other for ours, other in zip(rates["ours"], rates[name], strict=True)]
        click.echo(f"  fusion_ln / {titles[name]:34} {median(ratios):.2f}  ({min(ratios):.2f} - {max(ratios):.2f})")
