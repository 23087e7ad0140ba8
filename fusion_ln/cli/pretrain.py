"""`fusionln pretrain`: one backbone on several ultrasound sets."""

from pathlib import Path
from typing import Any

import click

from fusion_ln.cli.common import DIRECTORY, sharing_options
from fusion_ln.terms import PAPER_BACKBONES


@click.command()
@click.option("--task", "tasks", type=DIRECTORY, multiple=True, help="Cohort of one modality; give one per set.")
@click.option("--out", type=DIRECTORY, default=Path("runs/pretraining"), show_default=True, help="Folder for the run.")
@click.option(
    "--schedule",
    "order",
    type=click.Choice(["sequential", "interleaved"]),
    default="sequential",
    show_default=True,
    help="Within an epoch: one set after another, or batches of all sets mixed.",
)
@click.option("--preset", type=click.Choice(["fast", "paper"]), default="fast", show_default=True)
@click.option("--backbone", help=f"{', '.join(PAPER_BACKBONES)} or any timm name.")
@click.option("--weights", help="Where the backbone starts: scratch, imagenet, or a weight file.")
@click.option("--image-size", type=int, help="Pixels a side.")
@click.option("--epochs", type=int)
@click.option("--batch-size", type=int)
@click.option("--lr", type=float, help="Learning rate (Adam).")
@click.option(
    "--patience", type=int, default=5, show_default=True, help="Epochs without a lower mean validation loss, then stop."
)
@click.option("--precision", type=click.Choice(["auto", "32-true", "bf16-mixed"]))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@sharing_options
def pretrain(
    tasks: tuple[Path, ...],
    out: Path,
    order: str,
    preset: str,
    seed: int,
    device: str,
    devices: int,
    nodes: int,
    **changes: Any,
) -> None:
    """Train one backbone on several sets, each under a head of its own.

    Give the result to `fusionln run baseline` or `run fusion` with `--weights OUT`. Without --task, five simulated
    organ tasks are made in the cache folder.
    """
    from fusion_ln.cohort.cohort import load_cohort
    from fusion_ln.cohort.default import open_organs
    from fusion_ln.compute.engines import join_as_worker, validate_compute
    from fusion_ln.models.backbones import check_backbone
    from fusion_ln.report.pretraining import write_pretraining_report
    from fusion_ln.runs import RunFolder
    from fusion_ln.settings import DeviceSettings, PretrainSettings, resolve_fit
    from fusion_ln.training.pretraining.pretrain import pretrain as learn

    fit = resolve_fit(preset, changes, "options")
    check_backbone(fit.backbone)
    where = DeviceSettings(device=device, devices=devices, nodes=nodes)
    validate_compute(where, fit)
    if join_as_worker(where):
        return
    cohorts = [load_cohort(task) for task in tasks] or open_organs(fit.image_size)
    run = RunFolder(out)
    settings = PretrainSettings.read({"fit": fit, "order": order, "seed": seed}, "options")
    learn(cohorts, settings, run, where)
    report = write_pretraining_report(run)
    click.echo(f"Backbone: {run.backbone}")
    click.echo(f"Report:   {report}")
    click.echo(f"Next:     fusionln run fusion --weights {out} --backbone {fit.backbone} --image-size {fit.image_size}")
