"""`fusionln cohort`: make cohorts from archives or by simulation, and look them over."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusion_ln.cli.common import DIRECTORY
from fusion_ln.errors import SettingsError
from fusion_ln.terms import SITE, cache_folder

if TYPE_CHECKING:
    from fusion_ln.cohort.cohort import Cohort


def _folds(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    """What was typed, as arguments of `draw_folds`."""
    if value != SITE and not (value.isdecimal() and int(value) >= 2):
        raise click.BadParameter(f"{value!r} is neither a number from 2 nor {SITE!r}.")
    return {"by_site": True} if value == SITE else {"k": int(value)}


OUT = click.option("--out", required=True, type=DIRECTORY, help="Cohort folder to make.")
FOLDS = click.option(
    "--folds",
    default="5",
    show_default=True,
    metavar="K|site",
    callback=_folds,
    help="Outer folds, stratified by label; or one per site.",
)
SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)


@click.group()
def cohort() -> None:
    """Import, download, simulate and check cohorts of patients."""


@cohort.command("import")
@click.argument("source")
@click.argument("src", type=click.Path(path_type=Path))
@OUT
@FOLDS
@SEED
@click.option("--frame", type=click.IntRange(min=0), default=0, show_default=True, help="Frame of multi-frame files.")
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Go on without pictures that cannot be read or have no label; they are named.",
)
@click.option(
    "--leave-out", multiple=True, metavar="PATH", help="Picture to leave out, relative to SRC; * and ? match."
)
@click.option("--patient-pattern", metavar="REGEX", help="cv4lymphnode: its one group is the patient in a file name.")
@click.option("--classes", metavar="A,B,...", help="table: the classes, in the order of their numbers.")
@click.option("--malignant-from", metavar="TI-RADS", help="ddti: the lowest category that is malignant.  [default: 4a]")
@click.option("--cut-points", metavar="EF,...", help="edcu: ejection fractions between the classes.  [default: 40,50]")
@click.option("--frames", type=click.IntRange(min=1), help="edcu: pictures per video.  [default: 4]")
def import_(
    source: str,
    src: Path,
    out: Path,
    folds: dict[str, Any],
    seed: int,
    frame: int,
    skip_unreadable: bool,
    leave_out: tuple[str, ...],
    patient_pattern: str | None,
    classes: str | None,
    malignant_from: str | None,
    cut_points: str | None,
    frames: int | None,
) -> None:
    """Describe a raw archive as a cohort.

    The pictures of the archive SRC stay where they are; of videos, frames are written to the cohort. SOURCE is
    cv4lymphnode, us3m, auli, ocau, busi, ddti, edcu or table (SRC is then a CSV file with one row per patient or per
    picture).
    """
    from fusion_ln.cohort.importing import import_cohort, open_source

    options: dict[str, Any] = {}
    if patient_pattern is not None:
        options["patient_pattern"] = patient_pattern
    if classes is not None:
        options["classes"] = _split(classes)
    if cut_points is not None:
        options["cut_points"] = _numbers("--cut-points", cut_points)
    options |= {k: v for k, v in {"malignant_from": malignant_from, "frames": frames}.items() if v is not None}
    made = import_cohort(
        open_source(source, src, **options),
        out,
        **folds,
        seed=seed,
        frame=frame,
        skip_unreadable=skip_unreadable,
        leave_out=leave_out,
    )
    _name_what_was_written(made)
    click.echo(f"Next: fusionln cohort check {out}")


@cohort.command()
@click.argument("folder", metavar="DIR", type=DIRECTORY)
@click.pass_context
def check(ctx: click.Context, folder: Path) -> None:
    """Look every picture over for damage and repeats.

    Exit code 1 if something must be mended, 0 if there are only notes. All findings go to DIR/check.csv.
    """
    from fusion_ln.cohort.check import check_pictures, describe
    from fusion_ln.cohort.cohort import load_cohort
    from fusion_ln.files import write_text

    result = check_pictures(load_cohort(folder))
    click.echo(describe(result))
    write_text(folder / "check.csv", result.findings.to_csv(index=False))
    click.echo(f"\nWrote {folder / 'check.csv'} ({len(result.findings)} findings)")
    ctx.exit(1 if result.has_problems else 0)


@cohort.command()
@click.argument("source")
@click.option("--out", type=DIRECTORY, help="Folder for the archive.  [default: SOURCE in the user's cache]")
def download(source: str, out: Path | None) -> None:
    """Fetch a public archive, check it and unpack it.

    The licence and the citation of SOURCE are shown first.
    """
    from fusion_ln.cohort.download import download_archive

    folder = out or cache_folder() / "archives" / source
    if download_archive(source, folder):
        click.echo(f"Wrote {folder}\nNext: fusionln cohort import {source} {folder} --out DIR")


@cohort.command()
@click.argument("folder", metavar="DIR", type=DIRECTORY)
@FOLDS
@SEED
def folds(folder: Path, folds: dict[str, Any], seed: int) -> None:
    """Draw the folds of a cohort anew.

    The tables of the cohort DIR are accepted as they stand now. Older runs will not match.
    """
    from fusion_ln.cohort.cohort import redraw_folds

    _name_what_was_written(redraw_folds(folder, **folds, seed=seed))


@cohort.command()
@click.option("--patients", type=click.IntRange(min=1), default=240, show_default=True)
@click.option("--image-size", type=int, default=96, show_default=True, help="Pixels a side.")
@SEED
@click.option("--sites", type=int, default=3, show_default=True, help="Hospitals, each with its own scanner settings.")
@click.option("--missing", type=float, default=0.0, show_default=True, help="Chance that a picture is missing.")
@click.option("--shortcut", type=float, default=0.0, show_default=True, help="Share of pictures stamped by label.")
@FOLDS
@OUT
def phantom(
    patients: int,
    image_size: int,
    seed: int,
    sites: int,
    missing: float,
    shortcut: float,
    folds: dict[str, Any],
    out: Path,
) -> None:
    """Simulate a cohort of triplets whose attainable AUC is known."""
    from fusion_ln.cohort.cohort import redraw_folds
    from fusion_ln.cohort.importing import refuse_occupied
    from fusion_ln.cohort.phantom.simulate import simulate_cohort

    refuse_occupied(out)
    made = simulate_cohort(
        out,
        n_patients=patients,
        image_size=image_size,
        seed=seed,
        n_sites=sites,
        missing=missing,
        shortcut=shortcut,
        n_folds=folds.get("k", 2),
    )
    if "by_site" in folds:
        made = redraw_folds(out, **folds, seed=seed)
    _name_what_was_written(made)


@cohort.command()
@click.argument("place", metavar="DIR|CSV", type=click.Path(exists=True, path_type=Path))
@click.option("--label", metavar="COLUMN", help="Column that holds the class.  [default for a cohort: label]")
@click.option("--out", type=DIRECTORY, help="Folder to write to.  [default: DIR/statistics, or beside the CSV]")
def stats(place: Path, label: str | None, out: Path | None) -> None:
    """Describe the patients of each class (Table 1), with figures.

    Takes a cohort folder or a CSV file with one row per patient; writes CSV, HTML and LaTeX.
    """
    from fusion_ln.report.cohort.page import read_patients, write_statistics

    folder = out or (place / "statistics" if place.is_dir() else place.with_name(f"{place.stem}-statistics"))
    for path in write_statistics(folder, read_patients(place, label)):
        click.echo(f"Wrote {path}")


def _split(names: str) -> tuple[str, ...]:
    parts = tuple(name.strip() for name in names.split(","))
    if not all(parts) or len(set(parts)) != len(parts) or len(parts) < 2:
        raise SettingsError(f"--classes {names!r}: expected two or more different names, separated by commas.")
    return parts


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"{option} {text!r}: expected numbers, separated by commas.") from None


def _name_what_was_written(made: "Cohort") -> None:
    counts = made.patients["label"].value_counts()
    classes = ", ".join(f"{name} {counts.get(label, 0)}" for label, name in enumerate(made.classes))
    pictures = ", ".join(f"{name} {(made.images['modality'] == name).sum()}" for name in made.modalities)
    complete = (made.images.groupby("patient_id")["modality"].nunique() == len(made.modalities)).sum()
    click.echo(f"{len(made.patients)} patients ({classes}); {len(made.images)} pictures ({pictures})")
    if len(made.modalities) > 1:
        click.echo(f"{complete} patients have all {len(made.modalities)} modalities")
    kind = "simulated cohort" if made.simulated else "cohort"
    click.echo(f"Wrote {made.root} ({kind}, {made.n_folds} folds)")
