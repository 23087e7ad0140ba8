"""`fusionln audit`: test whether a run relies on something outside the node."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, SEED_RANGE, Command, moved_cohort_option
from fusion_ln.cli.options import settings_options, take
from fusion_ln.settings.devices import DeviceSettings


@click.command(cls=Command)
@click.argument("run", type=DIRECTORY)
@moved_cohort_option
@click.option("--out", type=DIRECTORY, help="Folder for the audit.  [default: RUN/audit]")
@settings_options(DeviceSettings, "device", defaults=True)
@click.option("--seed", type=SEED_RANGE, default=0, show_default=True, help="Seed of the swaps.")
def audit(run: Path, cohort: Path | None, out: Path | None, seed: int, **options: object) -> None:
    """Test whether RUN relies on something outside the node.

    Every patient is predicted from altered pictures, by the model of the fold that held the patient out: the node
    hidden, only frame and texts left, texts painted over, colours greyed, pictures swapped between patients.
    """
    from fusion_ln.compute.device import accelerator_of, check_device
    from fusion_ln.explain.shortcut.audit import audit_run
    from fusion_ln.report.shortcut import read_audit, shortcut_verdict, write_audit_page
    from fusion_ln.runs import RunFolder

    settings, folder = take(options, DeviceSettings), RunFolder(run)
    out = out or folder.audit
    check_device(settings)
    audit_run(folder, cohort, out, device=accelerator_of(settings), seed=seed)
    results = read_audit(out)
    page = write_audit_page(results)
    click.echo(shortcut_verdict(results))
    click.echo(f"Audit: {page}")
