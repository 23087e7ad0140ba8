"""`fusionln pretrain`: one backbone on several ultrasound sets."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, Command, preset_option, print_paths, sharing_options
from fusion_ln.cli.options import given, merge, set_option, settings_options, take
from fusion_ln.progress import say
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.pretraining import PRETRAIN_PATIENCE, PretrainSettings
from fusion_ln.settings.training import FitSettings


@click.command(cls=Command)
@click.option("--task", "tasks", type=DIRECTORY, multiple=True, help="Cohort of one modality; give one per set.")
@click.option("--out", type=DIRECTORY, default=Path("runs/pretraining"), show_default=True, help="Folder for the run.")
@settings_options(PretrainSettings, "order", "shards", defaults=True)
@click.option("--schedule", "old_order", hidden=True, help="Former name of --order.")
@preset_option("fast")
@settings_options(FitSettings, "backbone", "weights", "image_size", "epochs", "batch_size", "lr")
@settings_options(FitSettings, "patience", "precision", shown={"patience": PRETRAIN_PATIENCE})
@settings_options(PretrainSettings, "seed", defaults=True)
@sharing_options
@set_option(fit=FitSettings)
def pretrain(
    tasks: tuple[Path, ...],
    out: Path,
    order: str,
    old_order: str | None,
    preset: str | None,
    seed: int,
    shards: int,
    changes: dict[str, dict[str, object]],
    **options: object,
) -> None:
    """Train one backbone on several sets, each under a head of its own.

    Give the result to `fusionln run baseline` or `run fusion` with `--weights OUT`. Without --task, five simulated
    organ tasks are made in the cache folder.
    """
    from fusion_ln.cohort.default import open_organs
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.compute.engines import join_as_worker, validate_compute
    from fusion_ln.models.backbones import check_backbone
    from fusion_ln.models.rehearsal import check_network
    from fusion_ln.report.pretraining import write_pretraining_report
    from fusion_ln.runs import RunFolder
    from fusion_ln.settings.training import resolve_fit
    from fusion_ln.training.pretraining.pretrain import pretrain as learn

    if old_order is not None:
        say("--schedule is now called --order; the old name is read for one more release.")
    device = take(options, DeviceSettings)
    fit_changes = merge(given(options), changes["fit"], "fit")
    fit = resolve_fit(preset or "fast", {"patience": PRETRAIN_PATIENCE, **fit_changes}, "options")
    chosen = {"fit": fit, "order": old_order or order, "shards": shards, "seed": seed}
    settings = PretrainSettings.read(chosen, "options")
    check_backbone(fit.backbone)
    validate_compute(device, fit)
    if join_as_worker(device):
        return
    check_network(fit.backbone, fit.image_size)
    cohorts = [load_cohort(task) for task in tasks] or open_organs(fit.image_size)
    run = RunFolder(out)
    learn(cohorts, settings, run, device)
    print_paths({"Backbone": run.backbone, "Report": write_pretraining_report(run)})
    click.echo(f"Next:     fusionln run fusion --weights {out} --backbone {fit.backbone} --image-size {fit.image_size}")
