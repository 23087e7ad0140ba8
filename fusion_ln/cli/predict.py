"""`fusionln predict`: prediction of a new patient, or of a cohort, by a model."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec

import click

from fusion_ln.cli.common import DIRECTORY, Command, check_outputs, frame_option, population_options
from fusion_ln.cli.options import settings_options
from fusion_ln.settings.devices import AnswerEngine, AnswerSettings
from fusion_ln.terms import KNOWN_MODALITIES

P = ParamSpec("P")

PICTURE_PARAMETER = "picture_"  # + position of a known modality: a parameter's name, which `--2d` alone does not give
ANSWER_FILE = click.Path(dir_okay=False, path_type=Path)


def _picture_options(command: Callable[P, None]) -> Callable[P, None]:
    """Add an option per known modality, in the order of the table."""
    for position, modality in reversed(list(enumerate(KNOWN_MODALITIES.values()))):
        option = click.option(
            f"--{modality.name}",
            f"{PICTURE_PARAMETER}{position}",
            type=ANSWER_FILE,
            help=f"{modality.short_title} picture.",
        )
        command = option(command)
    return command


@click.command(cls=Command)
@click.argument("model", type=DIRECTORY, required=False)
@_picture_options
@click.option(
    "--picture", "named", metavar="NAME=FILE", multiple=True, help="Picture of the modality NAME; repeatable."
)
@click.option(
    "--clinical", metavar="COLUMN=VALUE", multiple=True, help="Value of a clinical column that MODEL takes; repeatable."
)
@frame_option("as MODEL's study, else 0")
@click.option("--cohort", type=DIRECTORY, help="Cohort whose patients to predict.")
@click.option("--server", metavar="URL", help="Server of `fusionln serve` to ask in place of MODEL.")
@population_options
@settings_options(AnswerSettings, defaults=True)
@click.option("--csv", "out", type=ANSWER_FILE, help="CSV file for the answers.")
@click.option(
    "--json", "json_out", type=ANSWER_FILE, help="JSON file for the answers; of one patient an object, else a list."
)
@click.option(
    "--sr",
    type=ANSWER_FILE,
    help="DICOM structured report (TID 1500, unverified) for the answer to one patient's DICOM pictures.",
)
def predict(
    model: Path | None,
    named: tuple[str, ...],
    clinical: tuple[str, ...],
    frame: int | None,
    cohort: Path | None,
    server: str | None,
    prevalence: str,
    costs: str,
    engine: AnswerEngine,
    out: Path | None,
    json_out: Path | None,
    sr: Path | None,
    **known: Path | None,
) -> None:
    """Predict new patients by MODEL, a folder of `fusionln freeze` or a run. For research only, never for a diagnosis.

    Probabilities are calibrated. The set holds the classes that cannot be ruled out at 90 %; a contribution is what a
    modality adds to the probability of the likeliest class, from that class's share in the study. A patient with a
    picture unlike all that MODEL learnt from is flagged: its answer means nothing.
    """
    pictures = _collect_pictures(known, named)
    if bool(pictures) == bool(cohort):
        options = ", ".join(f"--{modality}" for modality in KNOWN_MODALITIES)
        raise click.UsageError(f"Give either pictures ({options}, --picture) or --cohort DIR.")
    if frame is not None and cohort:
        raise click.UsageError("--frame belongs to pictures; a cohort was imported with a frame of its own.")
    if sr and cohort:
        raise click.UsageError("--sr belongs to pictures: a report is of one patient.")
    if clinical and cohort:
        raise click.UsageError("--clinical belongs to pictures; a cohort has its own columns.")
    values = _parse_pairs(clinical, "--clinical age=54")
    inputs = [*pictures.values(), *([Path(costs)] if costs else [])]
    check_outputs({"--csv": out, "--json": json_out, "--sr": sr}, [model, cohort, *inputs])
    if server and (model or cohort or frame is not None or prevalence or costs or out or sr or engine != "auto"):
        raise click.UsageError("With --server only pictures, --clinical and --json are taken.")
    if server:
        _ask_server(server, pictures, values, json_out)
    elif model:
        asked = (cohort or pictures, frame, values)
        _ask_model(model, asked, prevalence=prevalence, costs=costs, engine=engine, out=out, json_out=json_out, sr=sr)
    else:
        raise click.UsageError("Give MODEL, or --server URL.")


def _ask_model(
    model: Path,
    asked: tuple[Path | dict[str, Path], int | None, dict[str, str]],
    *,
    prevalence: str,
    costs: str,
    engine: AnswerEngine,
    out: Path | None,
    json_out: Path | None,
    sr: Path | None,
) -> None:
    """Let a model predict, and print or write its answers.

    Args:
        asked: The cohort, or pictures by modality; their frame; values of clinical columns.
    """
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.files.formats import write_csv, write_json
    from fusion_ln.predict.predictor import load_predictor
    from fusion_ln.predict.present import as_json, as_table, kind_of
    from fusion_ln.predict.structured_report import read_references, refuse_chosen_frames, require_digest, write_report
    from fusion_ln.progress import say
    from fusion_ln.terms import RAW
    from fusion_ln.units import split_units

    patients, frame, values = asked
    references = read_references(patients) if sr and not isinstance(patients, Path) else {}
    predictor = load_predictor(
        model, prevalence=prevalence, costs=costs, engine=engine, lasting=isinstance(patients, Path)
    )
    if sr:
        require_digest(predictor.model)
        refuse_chosen_frames(predictor.model, references, frame)
    if isinstance(patients, Path):
        opened = load_cohort(patients)
        answers = predictor.predict_cohort(opened)
        say(f"{len(answers.patients)} of {opened.count_units()} predicted.")
    else:
        answers = predictor.predict_pictures(patients, frame=frame, clinical=values)
    table = as_table(predictor, answers)
    if json_out:
        described = as_json(predictor, answers)
        write_json(json_out, described if isinstance(patients, Path) else described[0])
        click.echo(f"Answers: {json_out}")
    if sr:
        write_report(sr, predictor.model, answers, references, kind=kind_of(predictor), frame=frame)
        click.echo(f"Report: {sr}")
    if out:
        write_csv(out, table)
        click.echo(f"Probabilities: {out}")
    elif not json_out and not sr:
        shown = split_units(table.drop(columns=[column for column in table if str(column).startswith(RAW)]))
        click.echo(shown.to_string(index=False, float_format="{:.3f}".format))


def _ask_server(server: str, pictures: Mapping[str, Path], clinical: Mapping[str, str], json_out: Path | None) -> None:
    """Let a server predict one patient, and print or write its answer."""
    from fusion_ln.files.formats import write_json
    from fusion_ln.predict.remote import ask

    answer = ask(server, pictures, clinical)
    if json_out:
        write_json(json_out, answer)
        click.echo(f"Answers: {json_out}")
    else:
        click.echo(json.dumps(answer, indent=2))


def _collect_pictures(known: Mapping[str, Path | None], named: Sequence[str]) -> dict[str, Path]:
    """Collect the picture of each modality from the options of known modalities and from ``NAME=FILE`` options."""
    paths = [known[f"{PICTURE_PARAMETER}{position}"] for position in range(len(KNOWN_MODALITIES))]
    pictures = {modality: path for modality, path in zip(KNOWN_MODALITIES, paths, strict=True) if path}
    for modality, path in _parse_pairs(named, "--picture ceus=ceus.png").items():
        if modality in pictures:
            raise click.UsageError(f"Two pictures of modality {modality!r}: give one.")
        pictures[modality] = Path(path)
    return pictures


def _parse_pairs(options: Sequence[str], example: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` options."""
    values: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if not name or not value:
            raise click.BadParameter(f"{option!r} is not of the form `{example}`.")
        if name in values:
            raise click.BadParameter(f"{name!r} is given twice.")
        values[name] = value
    return values
