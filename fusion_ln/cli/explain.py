"""`fusionln explain`: where a run's models look, what each modality contributes, and whether to trust the maps."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY

MAPS = "maps"


class ExplainGroup(click.Group):
    """`explain RUN` is the explanation itself; only a further command, such as `explain audit RUN`, has a name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [MAPS, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return self.commands[MAPS].collect_usage_pieces(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[MAPS].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=ExplainGroup)
def explain() -> None:
    """Explain what the models of RUN see, each patient by the model that did not train on the patient."""


@explain.command(MAPS, hidden=True)
@click.argument("run", type=DIRECTORY)
@click.option("--patients", multiple=True, metavar="ID[,ID...]", help="Whom to explain.  [default: a sample]")
@click.option("--sample", type=click.IntRange(min=1), help="Patients to draw, all classes alike.  [default: 12]")
@click.option("--errors", is_flag=True, help="Only patients whom RUN misjudges; all of them without --sample.")
@click.option(
    "--method",
    "methods",
    metavar="NAME[,NAME...]",
    help="gradcam, guided-gradcam, ig, occlusion, attention.  [default: all that fit the networks]",
)
@click.option("--trust/--no-trust", default=True, show_default=True, help="Test whether the maps can be trusted.")
@click.option("--everyone", is_flag=True, help="Contributions of the modalities of all patients, not only of those.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sample.")
@click.option("--cohort", type=DIRECTORY, help="Cohort of RUN, if it is not where RUN was made on it.")
@click.option("--out", type=DIRECTORY, help="Folder.  [default: RUN/explanation]")
def maps(
    run: Path,
    patients: tuple[str, ...],
    sample: int | None,
    errors: bool,
    methods: str | None,
    trust: bool,
    everyone: bool,
    seed: int,
    cohort: Path | None,
    out: Path | None,
) -> None:
    """Explain what the models of RUN see, each patient by the model that did not train on the patient."""
    from fusion_ln.explain.request import ExplainSettings, check_methods, open_run_cohort
    from fusion_ln.explain.run import explain_run
    from fusion_ln.report.explanation.page import write_explanation
    from fusion_ln.runs import ExplanationFolder, RunFolder

    named = tuple(part.strip() for given in patients for part in given.split(",") if part.strip())
    if named and (sample or errors):
        raise click.UsageError("Name patients (--patients), or draw them (--sample, --errors).")
    wanted = check_methods([name.strip() for name in methods.split(",")]) if methods else ()
    wish = ExplainSettings(named, sample, errors, wanted, trust, everyone, seed)
    folder = RunFolder(run)
    opened = open_run_cohort(folder, cohort)
    place = ExplanationFolder(out) if out else folder.explanation
    explain_run(folder, opened, wish, place)
    page = write_explanation(place)
    click.echo(f"Maps:        {place.root / 'maps'}")
    click.echo(f"Explanation: {page}")
