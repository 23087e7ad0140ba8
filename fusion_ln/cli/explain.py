"""`fusionln explain`: attribution maps with their scores, and contributions of the modalities."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY, Command, moved_cohort_option
from fusion_ln.cli.options import settings_options, take
from fusion_ln.explain.request import ExplainSettings

MAPS = "maps"


class ExplainGroup(click.Group):
    """`explain RUN` is the explanation itself; only a former name of `audit` has a name of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [MAPS, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return self.commands[MAPS].collect_usage_pieces(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[MAPS].format_options(ctx, formatter)


class MapsContext(click.Context):
    """Context of the explanation, whose usage is that of the group: nobody types its name."""

    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else super().command_path


class MapsCommand(Command):
    """`explain RUN`, under the name that the group has it by."""

    context_class = MapsContext


@click.group(cls=ExplainGroup)
def explain() -> None:
    """Explain predictions of RUN, each by the model of the fold that held the patient out.

    In place of RUN a model of `fusionln freeze` explains its answers to patients of another cohort (`--cohort`).
    """


@explain.command(MAPS, cls=MapsCommand, hidden=True)
@click.argument("run", type=DIRECTORY)
@settings_options(
    ExplainSettings,
    defaults=True,
    flags={"methods": "--method"},
    metavars={"patients": "ID[,ID...]", "methods": "NAME[,NAME...]"},
    split=["patients", "methods"],
)
@moved_cohort_option
@click.option("--out", type=DIRECTORY, help="Folder for the explanation.  [default: RUN/explanation]")
def maps(run: Path, cohort: Path | None, out: Path | None, **options: object) -> None:
    """Explain predictions of RUN, each by the model of the fold that held the patient out."""
    from fusion_ln.runs import ExplanationFolder, RunFolder
    from fusion_ln.threads import cores

    settings, folder = take(options, ExplainSettings), RunFolder(run)
    place = ExplanationFolder(out) if out else folder.explanation
    if folder.finished and not place.root.exists() and settings.several and cores() > 1:
        from fusion_ln.compute.processes import preload_now

        preload_now("fusion_ln.explain.job")  # workers load torch while this process does
    from fusion_ln.cohort.folder import open_run_cohort
    from fusion_ln.explain.run import explain_run
    from fusion_ln.frozen.folder import ModelFolder

    if ModelFolder(run).record.is_file():
        _explain_model(run, cohort, settings, out)
        return
    explain_run(folder, open_run_cohort(folder, cohort), settings, place)
    from fusion_ln.report.explanation.page import write_explanation  # not while the workers begin

    page = write_explanation(place)
    click.echo(f"Maps:        {place.root / 'maps'}")
    click.echo(f"Explanation: {page}")


def _explain_model(model: Path, cohort: Path | None, settings: ExplainSettings, out: Path | None) -> None:
    if cohort is None:
        raise click.UsageError(f"{model} is a model: name the cohort of the patients to explain (`--cohort DIR`).")
    if settings.errors or settings.everyone:
        raise click.UsageError("--errors and --everyone belong to a run: a model does not look at true classes.")
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.external.explain import ANSWERS, explain_cohort

    out = out or Path("explanation")
    panels = explain_cohort(model, load_cohort(cohort), settings, out)
    click.echo(f"Maps:    {out} ({len(panels)} patients)")
    click.echo(f"Answers: {out / ANSWERS}")


@explain.command("audit", hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def former_audit(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run `fusionln audit`, which this command is now called; the old name goes with the next release."""
    from fusion_ln.cli.audit import audit
    from fusion_ln.progress import say

    say("`fusionln explain audit` is now `fusionln audit`; the old name works for one more release.")
    with audit.make_context("audit", list(arguments), parent=ctx.find_root()) as audit_ctx:
        audit.invoke(audit_ctx)
