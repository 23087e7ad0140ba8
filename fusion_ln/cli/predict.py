"""`fusionln predict`: a run's models on a new patient, or on many."""

from pathlib import Path

import click

from fusion_ln.cli.common import DIRECTORY
from fusion_ln.errors import RunError
from fusion_ln.progress import say
from fusion_ln.terms import MODALITIES

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("run", type=DIRECTORY)
@click.option("--2d", "grey", type=FILE, help="Grey-scale picture.")
@click.option("--cdfi", type=FILE, help="Colour Doppler picture.")
@click.option("--elastic", type=FILE, help="Elastography picture.")
@click.option("--clinical", metavar="COLUMN=VALUE", multiple=True, help="For a run that takes it; repeatable.")
@click.option("--frame", type=click.IntRange(min=0), default=0, show_default=True, help="Of a multi-frame picture.")
@click.option("--cohort", type=DIRECTORY, help="Predict all patients of a cohort.")
@click.option("--csv", "out", type=FILE, help="Write the probabilities there.")
def predict(
    run: Path,
    grey: Path | None,
    cdfi: Path | None,
    elastic: Path | None,
    clinical: tuple[str, ...],
    frame: int,
    cohort: Path | None,
    out: Path | None,
) -> None:
    """Probabilities of each class from the mean of RUN's folds. For research only, never for a diagnosis."""
    from fusion_ln.cohort.cohort import load_cohort
    from fusion_ln.files import write_text
    from fusion_ln.predict.predictor import load_predictor
    from fusion_ln.runs import RunFolder

    pictures = {m: path for m, path in zip(MODALITIES, (grey, cdfi, elastic), strict=True) if path}
    if bool(pictures) == bool(cohort):
        raise click.UsageError("Give either pictures (--2d, --cdfi, --elastic) or --cohort DIR.")
    if clinical and cohort:
        raise click.UsageError("--clinical belongs to pictures; a cohort has columns of its own.")
    predictor = load_predictor(RunFolder(run))
    if unused := [m for m in pictures if m not in predictor.modalities]:
        say(f"{run} does not take {', '.join(unused)}: not used.")
    values = _values(clinical, predictor.clinical, run)
    if cohort:
        opened = load_cohort(cohort)
        if opened.fingerprint == predictor.trained.run.read_record()["cohort"]["fingerprint"]:
            raise RunError(
                f"{run}: its models were trained on the patients of {cohort}.",
                "Their honest predictions, each by the model that never saw the patient, are in "
                f"{RunFolder(run).predictions}.",
            )
        table = predictor.predict_cohort(opened)
        known = set(opened.patients)
        say(f"{len(table)} of {len(opened.patients)} patients predicted.")
    else:
        table = predictor.predict_pictures(pictures, frame=frame, clinical=values)
        known = set(values)
    if missing := [column for column in predictor.clinical if column not in known]:
        say(f"Not known, so taken to be the mean of the training patients: {', '.join(missing)}.")
    if predictor.trained.simulated:
        say("These models learnt from simulated patients: their answers say nothing about real ones.")
    if out:
        write_text(out, table.to_csv(index=False))
        click.echo(f"Probabilities: {out}")
    else:
        click.echo(table.to_string(index=False, float_format="{:.3f}".format))


def _values(given: tuple[str, ...], taken: list[str], run: Path) -> dict[str, str]:
    """Values of clinical columns, by column."""
    values = {}
    for each in given:
        column, equals, value = each.partition("=")
        if not equals or not value:
            raise click.BadParameter(f"{each!r} is not as in `--clinical age=54`.")
        if column not in taken:
            known = f"It takes {', '.join(taken)}." if taken else "It takes pictures only."
            raise RunError(f"{run}: takes no clinical column {column!r}.", known)
        values[column] = value
    return values
