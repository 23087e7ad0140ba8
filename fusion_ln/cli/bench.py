"""`fusionln bench`: measured speed."""

from pathlib import Path

import click


@click.group()
def bench() -> None:
    """Measure how fast this machine trains, keeps trials of studies and computes statistics."""


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

    from fusion_ln.bench.training import bench_fit
    from fusion_ln.compute.device import make_fabric, precision_of
    from fusion_ln.records import hardware, installed_versions
    from fusion_ln.settings import DeviceSettings, resolve_fit

    changes = {"backbone": backbone, "image_size": image_size, "batch_size": batch_size}
    settings = resolve_fit("fast", changes, "options")
    fabric = make_fabric(DeviceSettings(device=device), settings.precision)
    rates = bench_fit(settings, fabric, n_pictures=pictures, rounds=rounds)
    machine = hardware()
    where = machine.processor if fabric.device.type == "cpu" else "GPU"
    click.echo(
        f"{backbone}, {image_size} px, batch {batch_size}, {precision_of(fabric)}, {fabric.device.type}, "
        f"{machine.cores} cores ({where}), torch {installed_versions()['torch']}, "
        f"median (lowest - highest) of {rounds} rounds of {pictures} pictures:"
    )
    titles = {"ours": "fusion_ln", "bare": "bare PyTorch, in memory", "research": "ImageFolder + DataLoader, float32"}
    for name, values in rates.items():
        click.echo(f"  {titles[name]:34} {median(values):8.1f} pictures/s  ({min(values):.1f} - {max(values):.1f})")
    for name in ("bare", "research"):
        ratios = [ours / other for ours, other in zip(rates["ours"], rates[name], strict=True)]
        click.echo(f"  fusion_ln / {titles[name]:34} {median(ratios):.2f}  ({min(ratios):.2f} - {max(ratios):.2f})")


@bench.command()
@click.option("--trials", type=click.IntRange(min=10), default=1000, show_default=True)
@click.option("--storage", "storages", metavar="URL", multiple=True, help="Repeatable.  [default: a journal file]")
@click.option("--sampler", "samplers", type=click.Choice(["random", "tpe"]), multiple=True, default=["random", "tpe"])
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the table (Markdown).")
def study(trials: int, storages: tuple[str, ...], samplers: tuple[str, ...], out: Path | None) -> None:
    """Milliseconds that a trial which computes nothing takes, from the first to the last of a study."""
    import os
    import shlex
    import sys
    import tempfile
    from datetime import UTC, datetime
    from importlib.metadata import version

    from fusion_ln.bench.studies import BLOCKS, bench_study
    from fusion_ln.cohort.default import open_phantom
    from fusion_ln.files import write_text
    from fusion_ln.records import hardware, installed_versions
    from fusion_ln.settings import PhantomSettings
    from fusion_ln.tuning.storage import shown

    machine, versions = hardware(), installed_versions()
    cohort = open_phantom(PhantomSettings(patients=60, image_size=48)).root
    size = trials // BLOCKS
    lines = [
        "# What the machinery of studies costs",
        "",
        "Trials that compute nothing, with 5 reported epochs and 4 parameters; milliseconds per trial, wall (CPU).",
        "",
        f"Command: `{shown(shlex.join(['fusionln', *sys.argv[1:]]))}`",
        f"Date: {datetime.now(UTC):%Y-%m-%d}; load of the machine at the start: {os.getloadavg()[0]:.1f}",
        f"Hardware: {machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB",
        f"Versions: python {versions['python']}, fusion_ln {versions['fusion_ln']}, optuna {version('optuna')}",
        "",
        "| Storage | Sampler | " + " | ".join(f"trials {k * size}-{(k + 1) * size - 1}" for k in range(BLOCKS)) + " |",
        "| --- | --- |" + " --- |" * BLOCKS,
    ]
    for line in lines:
        click.echo(line)
    with tempfile.TemporaryDirectory() as folder:
        for storage in storages or (f"{folder}/study.journal",):
            kind = storage.partition("+")[0] if "://" in storage else "journal file"
            for sampler in samplers:
                blocks = bench_study(storage, cohort, trials=trials - trials % BLOCKS, sampler=sampler)
                cells = " | ".join(f"{b.milliseconds:.1f} ({b.cpu_milliseconds:.1f})" for b in blocks)
                lines.append(f"| {kind} | {sampler} | {cells} |")
                click.echo(lines[-1])
    if out:
        write_text(out, "\n".join(lines) + "\n")
        click.echo(f"Wrote {out}")


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

    from fusion_ln.bench.statistics import bench_statistics
    from fusion_ln.files import write_text
    from fusion_ln.records import hardware, installed_versions

    machine, versions = hardware(), installed_versions()
    lines = [
        "# Speed and memory of the statistics",
        "",
        f"Command: `{shlex.join(['fusionln', *sys.argv[1:]])}`",
        f"Date: {datetime.now(UTC):%Y-%m-%d}; load of the machine at the start: {os.getloadavg()[0]:.1f}",
        f"Hardware: {machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB",
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
