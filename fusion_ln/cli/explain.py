"""`fusionln explain`: attribution maps with their scores, and contributions of the modalities."""

from pathlib import Path

import click

from fusion_ln.cli.common import COUNT, DIRECTORY, SEED

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


@click.group(cls=ExplainGroup)
def explain() -> None:
    """Explain predictions of RUN, each by the model of the fold that held the patient out."""


@explain.command(MAPS, hidden=True)
@click.argument("run", type=DIRECTORY)
@click.option("--patients", multiple=True, metavar="ID[,ID...]", help="Patients to explain.  [default: a sample]")
@click.option("--sample", type=COUNT, help="Patients to draw, all classes alike.  [default: 12]")
@click.option("--errors", is_flag=True, help="Only patients whom RUN misclassifies; all of them without --sample.")
@click.option(
    "--method",
    "methods",
    metavar="NAME[,NAME...]",
    help="gradcam, guided-gradcam, ig, occlusion, attention.  [default: all that fit the networks]",
)
@click.option("--trust/--no-trust", default=True, show_default=True, help="Score the maps: can they be trusted?")
@click.option("--everyone", is_flag=True, help="Contributions of the modalities for all patients of RUN.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the sample.")
@click.option("--cohort", type=DIRECTORY, help="Cohort of RUN, if it has moved.")
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
    """Explain predictions of RUN, each by the model of the fold that held the patient out."""
    from fusion_ln.cohort.cohort import open_run_cohort
    from fusion_ln.explain.request import ExplainSettings
    from fusion_ln.explain.run import explain_run
    from fusion_ln.report.explanation.page import write_explanation
    from fusion_ln.runs import ExplanationFolder, RunFolder

    settings = ExplainSettings(
        patients=tuple(name for option in patients for name in _split(option)),
        sample=sample,
        errors=errors,
        methods=tuple(_split(methods or "")),
        trust=trust,
        everyone=everyone,
        seed=seed,
    )
    folder = RunFolder(run)
    place = ExplanationFolder(out) if out else folder.explanation
    explain_run(folder, open_run_cohort(folder, cohort), settings, place)
    page = write_explanation(place)
    click.echo(f"Maps:        {place.root / 'maps'}")
    click.echo(f"Explanation: {page}")


def _split(names: str) -> list[str]:
    """Split names at commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


@explain.command("audit", hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def former_audit(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run `fusionln audit`, which this command is now called; the old name goes with the next release."""
    from fusion_ln.cli.audit import audit
    from fusion_ln.progress import say

    say("`fusionln explain audit` is now `fusionln audit`; the old name works for one more release.")
    with audit.make_context("fusionln audit", list(arguments), parent=ctx.parent) as audit_ctx:
        audit.invoke(audit_ctx)
