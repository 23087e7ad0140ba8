"""`fusionln cohort`: import, download, simulation, check and description of cohorts."""

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from fusion_ln.cli import common
from fusion_ln.cli.common import DIRECTORY
from fusion_ln.cli.options import settings_options, take
from fusion_ln.cohort.phantom.settings import PhantomSettings
from fusion_ln.terms import SITE, cache_folder

if TYPE_CHECKING:
    from dataclasses import Field

    from fusion_ln.cohort.cohort import Cohort


class Folds(TypedDict, total=False):
    """Arguments of `draw_folds`."""

    k: int
    by_site: bool


def _parse_folds(_: click.Context, __: click.Parameter, value: str) -> Folds:
    """Parse the number of folds, or the word for one fold per site."""
    if value != SITE and not (value.isdecimal() and len(value) <= 4 and int(value) >= 2):
        raise click.BadParameter(f"{value!r} is neither a number from 2 to 9999 nor {SITE!r}.")
    return {"by_site": True} if value == SITE else {"k": int(value)}


OUT = click.option("--out", required=True, type=DIRECTORY, help="Cohort folder to make.")
FOLDS = click.option(
    "--folds",
    default="5",
    show_default=True,
    metavar="K|site",
    callback=_parse_folds,
    help="Outer folds, stratified by label; or one per site.",
)
seed_option = click.option("--seed", type=common.SEED_RANGE, default=0, show_default=True, help="Seed of the folds.")


@click.group(cls=common.Family)
def cohort() -> None:
    """Import, download, simulate and check cohorts of patients."""


class ImportGroup(click.Group):
    """The command ``import`` with one command per source, built from the source's file when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the sources."""
        from fusion_ln.cohort.source import source_names

        return source_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Build the command of a source."""
        return _build_import(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sources with their titles, without importing them."""
        from fusion_ln.cohort.source import source_titles

        with formatter.section("Sources"):
            formatter.write_dl(list(source_titles().items()))


@cohort.group("import", cls=ImportGroup, options_metavar="", subcommand_metavar="SOURCE SRC --out DIR [OPTIONS]")
def import_() -> None:
    """Describe a raw archive as a cohort.

    The pictures of the archive SRC stay in place; the frames that `--frames` takes are written to the cohort. See
    `fusionln cohort import SOURCE --help` for the layout and the options of a source.
    """


def _build_import(name: str) -> click.Command:
    """Build the command that imports an archive of the source ``name``, with the source's own options."""
    from fusion_ln.cohort.source import find_source, options_of

    source = find_source(name)
    text = (source.__doc__ or "").partition("Attributes:")[0].replace("``", "`")

    @click.command(name, cls=common.Command, help=text)
    @click.argument("src", type=click.Path(path_type=Path))
    @OUT
    @FOLDS
    @seed_option
    @common.frame_option("0")
    @click.option(
        "--frames",
        metavar="N|best|best:N",
        help="Frames of each video, multi-frame DICOM file or animation that become views: N evenly spaced ones; the "
        "best, among the half that move least, with most flow (colour Doppler) or sharpest; or the best of each of N "
        "equal parts." + (f"  [default: {source.default_frames}]" if source.default_frames else ""),
    )
    @click.option(
        "--crop",
        default="none",
        show_default=True,
        metavar="auto|dicom|none|BOX",
        help="Cut pictures out of their screens: the regions that DICOM files name; `auto`: else the picture part, "
        "found by its pixels; BOX: X,Y,WIDTH,HEIGHT. Boxes go to images.parquet; files stay as they are.",
    )
    @click.option("--mask-text", is_flag=True, help="Fill texts and signs within the pictures from their surroundings.")
    @click.option(
        "--accept",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Boxes that were looked at: the crops.csv that `check` wrote, corrected.",
    )
    @click.option("--skip-unreadable", is_flag=True, help="Skip and name pictures without a label or unreadable.")
    @click.option(
        "--leave-out", multiple=True, metavar="PATH", help="Picture to leave out, relative to SRC; * and ? match."
    )
    def command(
        src: Path,
        out: Path,
        folds: Folds,
        seed: int,
        frame: int | None,
        frames: str | None,
        skip_unreadable: bool,
        leave_out: tuple[str, ...],
        crop: str,
        mask_text: bool,
        accept: Path | None,
        **options: object,
    ) -> None:
        from fusion_ln.cohort.frames import FrameRule
        from fusion_ln.cohort.importing import import_cohort
        from fusion_ln.cohort.regions.cropping import Cropping, read_accepted
        from fusion_ln.cohort.regions.rule import CropRule
        from fusion_ln.cohort.source import open_source

        if frames is not None and frame is not None:
            raise click.UsageError("--frame takes one frame of every file, --frames chooses: give one of them.")
        cropping = Cropping(CropRule.parse(crop), read_accepted(accept) if accept else {}, mask_text)
        given = {key: value for key, value in options.items() if value is not None}
        cohort = import_cohort(
            open_source(name, src, **given),
            out,
            **folds,
            seed=seed,
            frame=frame or 0,
            frames=FrameRule.parse(frames) if frames is not None else None,
            skip_unreadable=skip_unreadable,
            leave_out=leave_out,
            cropping=cropping,
        )
        _describe_written(cohort)
        click.echo(f"Next: fusionln cohort check {out}")

    command.params += [_build_option(each) for each in options_of(source)]
    return command


def _build_option(field: "Field[object]") -> click.Option:
    """Build the option of a source's field."""
    help_text = str(field.metadata["help"]) + (f"  [default: {field.default}]" if field.default else "")
    return click.Option(
        [f"--{field.name.replace('_', '-')}"],
        type=field.metadata["parse"],
        metavar=field.metadata["metavar"],
        help=help_text,
    )


@cohort.command()
@click.argument("folder", metavar="DIR", type=DIRECTORY)
@click.pass_context
def check(ctx: click.Context, folder: Path) -> None:
    """Check every picture for damage and repeats, and test whether the absence of pictures predicts the class.

    Exit code 1 if something must be mended, 0 if there are only notes. All findings go to DIR/check.csv. Of pictures
    that were cut out of their screens, DIR/crops.html shows every box, odd ones first; DIR/crops.csv takes corrections.
    """
    from fusion_ln.cohort.checks.check import check_pictures, describe_check
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.errors import PredictionsError
    from fusion_ln.files.formats import write_csv
    from fusion_ln.report.cohort.crops import write_crops
    from fusion_ln.report.cohort.presence import audit_cohort, describe_presence

    result = check_pictures(load_cohort(folder))
    click.echo(describe_check(result))
    try:
        audit = audit_cohort(result.cohort)
        click.secho(f"\n{describe_presence(audit)}", fg="red" if audit and audit.linked else None)
    except PredictionsError as error:
        click.echo(f"\nWhich pictures exist: not tested, {error.problem}")
    write_csv(folder / "check.csv", result.findings)
    click.echo(f"\nWrote {folder / 'check.csv'} ({len(result.findings)} findings)")
    if result.cohort.is_cropped:
        page, table = write_crops(folder, result)
        click.echo(f"Wrote {page}: look at the boxes. Correct {table}, then import again with `--accept {table}`.")
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
@seed_option
def folds(folder: Path, folds: Folds, seed: int) -> None:
    """Draw the folds of a cohort anew.

    The tables of the cohort DIR are accepted as they stand now. Older runs will not match.
    """
    from fusion_ln.cohort.folder import redraw_folds

    _describe_written(redraw_folds(folder, **folds, seed=seed))


@cohort.command()
@settings_options(PhantomSettings, defaults=True, metavars={"shift": "NAME,..."}, split=["shift"])
@FOLDS
@OUT
def phantom(folds: Folds, out: Path, **options: object) -> None:
    """Simulate a cohort of triplets whose attainable AUC is known.

    `--shift` makes other hospitals: `gain` brightens or darkens every picture by 6 to 10 dB; `depth` shows 1.2 to 1.5
    times as much tissue; `scanner` blurs the speckle (1.4 to 1.9 times) and narrows the dynamic range (0.65 to 0.8
    times); `prevalence` moves at least 0.2 of the patients to other classes; `missing` takes each modality's pictures
    away with a chance of its own, 0.1 to 0.6. The seed draws the sizes, which cohort.toml names.
    """
    from fusion_ln.cohort.default import simulate_phantom

    _describe_written(simulate_phantom(out, take(options, PhantomSettings), **folds))


@cohort.command()
@click.argument("place", metavar="DIR|FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--label", metavar="COLUMN", help="Column that holds the class.  [default: label]")
@click.option("--classes", metavar="A,B,...", help="Classes of a FILE, in the order of their numbers and columns.")
@click.option(
    "--out", type=DIRECTORY, help="Folder for tables and figures.  [default: DIR/statistics, or beside the file]"
)
def stats(place: Path, label: str | None, classes: str | None, out: Path | None) -> None:
    """Describe the patients of each class (Table 1), with figures.

    Takes a cohort folder, or a CSV or Excel file with one row per patient; writes CSV, HTML and LaTeX.
    """
    from fusion_ln.cohort.sources.table import parse_classes
    from fusion_ln.report.cohort.page import WRITTEN, read_patients, write_statistics

    named = parse_classes(classes) if classes else ()
    folder = out or (place / "statistics" if place.is_dir() else place.with_name(f"{place.stem}-statistics"))
    if place.name in WRITTEN and place.parent.resolve() == folder.resolve():
        raise click.UsageError(f"--out {folder}: a new {place.name} would replace FILE. Choose another folder.")
    for path in write_statistics(folder, read_patients(place, label, named)):
        click.echo(f"Wrote {path}")


@cohort.command()
@click.argument("folder", metavar="DIR", type=DIRECTORY)
@click.option(
    "--croissant",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON-LD file for the description in Croissant 1.0: tables, columns, classes and folds.",
)
def export(folder: Path, croissant: Path) -> None:
    """Describe the cohort DIR for other programs."""
    from fusion_ln.cohort.folder import load_cohort
    from fusion_ln.export.croissant import write_croissant

    write_croissant(load_cohort(folder), croissant)
    click.echo(f"Wrote {croissant}")


def _describe_written(made: "Cohort") -> None:
    counts = made.patients["label"].value_counts()
    classes = ", ".join(f"{name} {counts.get(label, 0)}" for label, name in enumerate(made.classes))
    pictures = ", ".join(f"{name} {(made.images['modality'] == name).sum()}" for name in made.modalities)
    complete = (made.images.groupby("patient_id")["modality"].nunique() == len(made.modalities)).sum()
    click.echo(f"{made.count_units()} ({classes}); {len(made.images)} pictures ({pictures})")
    if len(made.modalities) > 1:
        click.echo(f"{complete} {'nodes' if made.of_nodes else 'patients'} have all {len(made.modalities)} modalities")
    kind = "simulated cohort" if made.simulated else "cohort"
    click.echo(f"Wrote {made.root} ({kind}, {made.n_folds} folds)")
