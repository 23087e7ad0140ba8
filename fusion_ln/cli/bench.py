"""`fusionln bench`: measured speed."""

from pathlib import Path

import click


@click.group()
def bench() -> None:
    """Measure how fast this machine trains and computes statistics."""


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


@bench.command()
@click.option("--models", type=click.IntRange(min=2), default=13, show_default=True)
@click.option("--patients", type=click.IntRange(min=30), default=586, show_default=True)
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--many", type=click.IntRange(min=30), default=100_000, show_default=True, help="Patients, for memory.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table (Markdown).")
def statistics(models: int, patients: int, resamples: int, many: int, out: Path | None) -> None:
    """Seconds and memory of bootstrap, tests and corrections."""
    import os
    import shlex
    import sys
    from datetime import UTC, datetime

    from fusion_ln.evaluation.bench import bench_statistics
    from fusion_ln.files import write_text
    from fusion_ln.runs import hardware, installed_versions

    machine, versions = hardware(), installed_versions()
    lines = [
        "# Speed and memory of the statistics",
        "",
        f"Command: `{shlex.join(['fusionln', *sys.argv[1:]])}`",
        f"Date: {datetime.now(UTC):%Y-%m-%d}; load of the machine at the start: {os.getloadavg()[0]:.1f}",
        f"Hardware: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        f"Versions: python {versions['python']}, numpy {versions['numpy']}, fusion_ln {versions['fusion_ln']}",
        "",
        "| Task | Seconds | CPU seconds | Most memory of the process so far [MiB] |",
        "| --- | --- | --- | --- |",
    ]
    for line in lines:
        click.echo(line)
    sizes = {"n_models": models, "n_patients": patients, "n_resamples": resamples, "n_many": many}
    for timing in bench_statistics(**sizes):
        lines.append(f"| {timing.task} | {timing.seconds:.2f} | {timing.cpu_seconds:.2f} | {timing.peak_mib:.0f} |")
        click.echo(lines[-1])
    if out:
        write_text(out, "\n".join(lines) + "\n")
        click.echo(f"Wrote {out}")
