"""`fusionln explain audit`: does a run rely on something outside the node?"""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY


@click.command()
@click.argument("run", type=DIRECTORY)
@click.option("--cohort", type=DIRECTORY, help="Cohort folder, if it is no longer where the run was made on it.")
@click.option("--out", type=DIRECTORY, help="Folder for the audit.  [default: RUN/audit]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the swaps.")
def audit(run: Path, cohort: Path | None, out: Path | None, device: str, seed: int) -> None:
    """Tell whether RUN relies on something outside the node.

    Predicts every patient, by the model of the fold that held the patient out, from altered pictures: the node
    hidden, only frame and texts left, texts painted over, colours greyed, pictures swapped between patients.
    """
    from fusion_ln.compute.device import accelerator_of, make_fabric
    from fusion_ln.explain.shortcut.audit import audit as ask
    from fusion_ln.report.shortcut import read_audit, verdict, write_audit_page
    from fusion_ln.runs import RunFolder
    from fusion_ln.settings import DeviceSettings

    where, asked = DeviceSettings(device=device), RunFolder(run)
    out = out or asked.audit
    make_fabric(where, "32-true")  # refuses a device that is not there
    ask(asked, cohort, out, device=accelerator_of(where), seed=seed)
    judged = read_audit(out)
    page = write_audit_page(judged)
    click.echo(verdict(judged))
    click.echo(f"Audit: {page}")
