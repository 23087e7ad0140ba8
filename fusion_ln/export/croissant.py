"""Description of a cohort in Croissant 1.0, the JSON-LD by which data sets for machine learning are described."""

import os
from collections.abc import Iterable, Mapping
from glob import escape
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.head import HEAD, TABLES
from fusion_ln.errors import CohortError
from fusion_ln.files.formats import write_json
from fusion_ln.files.hashes import hash_file
from fusion_ln.manifests import load_manifest, manifest_names
from fusion_ln.terms import CINE, FOLD, FRAME, INNER, LABEL, NODE, PATH, PATIENT, SIMULATED, UNUSED, listed
from fusion_ln.units import patient_of, split_units

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
# The context of the standard, as its specification prints it.
CONTEXT: Mapping[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in (
        "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
        "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references",
        "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
    )},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}  # fmt: skip
PARQUET = "application/x-parquet"
# Of the columns that every cohort has; others are clinical columns of its own.
MEANINGS = {
    PATIENT: "The patient: the unit of splitting and of every reported number.",
    NODE: "The node among those of the patient, each with a label and pictures of its own.",
    LABEL: "The class, as its place among the classes.",
    "site": "Hospital or scanner.",
    "image_id": "The picture.",
    "modality": "Kind of ultrasound picture.",
    "view": "Number of the picture among those of the patient in this modality.",
    "path": "Picture file, relative to the pictures' folder.",
    "width": "Pixels.",
    "height": "Pixels.",
    "sha256": "Hash of the picture file.",
    "crop_x": "Left edge of the picture in its file, in pixels.",
    "crop_y": "Upper edge of the picture in its file, in pixels.",
    "crop_width": "Width of the picture in its file, in pixels.",
    "crop_height": "Height of the picture in its file, in pixels.",
    CINE: "File of several frames that the picture was taken from, relative to the archive; empty of others.",
    FRAME: "Number of the frame in it, from 0.",
    "crop_by": "How the picture was found in its file.",
    "mm_per_pixel": "Size of a pixel, as a DICOM file says.",
    FOLD: "Outer fold that holds the patient out.",
}


def write_croissant(cohort: Cohort, path: Path) -> None:
    """Write the description of a cohort, whose tables it names relative to its own folder.

    Raises:
        CohortError: If ``path`` is a file of the cohort.
        RunError: If it cannot be written.
    """
    own = {cohort.root / name for name in (HEAD, *map(_file_name, TABLES))}
    own |= {cohort.folder_of(name) / name for name in cohort.images[PATH]}
    if path.exists() and any(each.exists() and path.samefile(each) for each in own if each.name == path.name):
        raise CohortError(f"{path}: a file of the cohort, which would be replaced.", "Name another file.")
    write_json(path, to_croissant(cohort, path.parent))


def to_croissant(cohort: Cohort, folder: Path) -> dict[str, object]:
    """Describe a cohort in Croissant's terms.

    Args:
        cohort: The cohort.
        folder: Folder that the places of the tables are relative to.
    """
    place = os.path.relpath(cohort.root, folder)
    held = {"patients": cohort.patients, "images": cohort.images, "folds": cohort.folds}
    tables = {name: split_units(table) for name, table in held.items()}
    patterns = _patterns(cohort, folder)
    shown = patterns and all(_kind_of(pattern).startswith("image/") for pattern in patterns)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": cohort.name,
        "description": _summarise(cohort),
        "license": cohort.licence,
        **_origin(cohort),
        "keywords": ["ultrasound", "medical imaging", *cohort.modalities, *([SIMULATED] if cohort.simulated else [])],
        "rai:dataCollection": _collection(cohort),
        "distribution": [
            *(_describe_file(cohort.root, place, name) for name in tables),
            *([_describe_pictures(patterns)] if patterns else []),
        ],
        "recordSet": [
            _describe_classes(cohort),
            *(_describe_table(name, table) for name, table in tables.items()),
            _describe_splits(cohort),
            *([_describe_pixels()] if shown else []),
        ],
    }


def _file_name(table: str) -> str:
    return f"{table}.parquet"


def _summarise(cohort: Cohort) -> str:
    counts = cohort.patients[LABEL].value_counts()
    classes = listed(f"{counts.get(label, 0)} {name}" for label, name in enumerate(cohort.classes))
    simulated = "Simulated patients, no real ones: it says nothing about real ones. " if cohort.simulated else ""
    return (
        f"{simulated}Ultrasound pictures of {cohort.count_units()} ({classes}): {len(cohort.images)} pictures "
        f"of {listed(cohort.modalities)}. {_protocol(cohort)}"
    )


def _protocol(cohort: Cohort) -> str:
    return (
        f"Patients are split into {cohort.n_folds} outer folds, each patient in one. For fold k, the patients whose "
        f"`fold` is k are the test part; of the others, those whose `{INNER}k` is true are for validation (early "
        "stopping, tuning, calibration) and the rest for training."
    )


def _origin(cohort: Cohort) -> dict[str, str]:
    """Say where a public source stands and how it is cited; nothing of a source without a manifest."""
    if cohort.source not in manifest_names():
        return {}
    manifest = load_manifest(cohort.source)
    named = {"url": manifest.get("page"), "citeAs": manifest.get("citation")}
    return {key: str(value) for key, value in named.items() if value}


def _collection(cohort: Cohort) -> str:
    if cohort.simulated:
        return "Simulated by `fusionln cohort phantom`: drawn from tables and rendered; no patient was examined."
    return f"Imported by `fusionln cohort import {cohort.source}`; raw files are only read."


def _describe_file(root: Path, place: str, name: str) -> dict[str, object]:
    file = _file_name(name)
    return {
        "@type": "cr:FileObject",
        "@id": file,
        "name": file,
        "contentUrl": file if place == "." else f"{Path(place).as_posix()}/{file}",
        "encodingFormat": PARQUET,
        "sha256": hash_file(root / file),
    }


def _patterns(cohort: Cohort, folder: Path) -> list[str]:
    """List the patterns of the picture files in ``folder``; none of an archive elsewhere, which has no place there."""
    base, found = folder.resolve(), set[str]()
    roots = {root: root.resolve() for root in (cohort.root, cohort.pictures)}
    for name in cohort.images[PATH]:
        root, path = roots[cohort.folder_of(name)], Path(name)
        if not root.is_relative_to(base):
            return []
        parts = (*root.relative_to(base).parts, *path.parts[:-1][:1])  # readers let a star reach into folders
        found.add("".join(f"{escape(part)}/" for part in parts) + f"*{path.suffix}")
    return sorted(found)


def _kind_of(pattern: str) -> str:
    return guess_type(pattern)[0] or "application/octet-stream"


def _describe_pictures(patterns: list[str]) -> dict[str, object]:
    kinds = sorted(set(map(_kind_of, patterns)))
    return {
        "@type": "cr:FileSet", "@id": "pictures", "name": "pictures", "encodingFormat": kinds, "includes": patterns,
    }  # fmt: skip


def _describe_pixels() -> dict[str, object]:
    """Describe the content of the picture files; ``path`` is relative to the folder of this description."""
    columns = {PATH: ("sc:Text", "fullpath"), "content": ("sc:ImageObject", "content")}
    return {
        "@type": "cr:RecordSet",
        "@id": "pixels",
        "name": "pixels",
        "key": {"@id": f"pixels/{PATH}"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"pixels/{column}",
                "name": column,
                "dataType": data_type,
                "source": {"fileSet": {"@id": "pictures"}, "extract": {"fileProperty": held}},
            }
            for column, (data_type, held) in columns.items()
        ],
    }


def _describe_classes(cohort: Cohort) -> dict[str, object]:
    return _inline(
        "classes",
        "The classes, in the order of their labels.",
        "sc:Enumeration",
        {LABEL: "sc:Integer", "name": "sc:Text"},
        ({LABEL: label, "name": name} for label, name in enumerate(cohort.classes)),
    )


def _describe_splits(cohort: Cohort) -> dict[str, object]:
    columns = {"name": "sc:Text", FOLD: "sc:Integer", "patients": "sc:Integer"}
    if cohort.of_nodes:
        columns["nodes"] = "sc:Integer"
    rows = (
        {"name": f"fold {k}", FOLD: k, "patients": len(set(map(patient_of, units)))}
        | ({"nodes": len(units)} if cohort.of_nodes else {})
        for k, units in ((k, cohort.held_out(k)) for k in range(cohort.n_folds))
    )
    return _inline("splits", f"The outer folds. {_protocol(cohort)}", "cr:Split", columns, rows)


def _inline(
    name: str, description: str, kind: str, columns: Mapping[str, str], rows: Iterable[Mapping[str, object]]
) -> dict[str, object]:
    """Describe a set of records that stands in the description itself; its first column is the key."""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "dataType": kind,
        "key": {"@id": f"{name}/{next(iter(columns))}"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{column}", "name": column, "dataType": data_type}
            for column, data_type in columns.items()
        ],
        "data": [{f"{name}/{column}": value for column, value in row.items()} for row in rows],
    }


def _describe_table(name: str, table: pd.DataFrame) -> dict[str, object]:
    unit = (PATIENT, NODE) if NODE in table else (PATIENT,)
    key = [{"@id": f"{name}/{column}"} for column in (("image_id",) if name == "images" else unit)]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "key": key if len(key) > 1 else key[0],
        "field": [_describe_column(name, str(column), table) for column in table],
    }


def _describe_column(name: str, column: str, table: pd.DataFrame) -> dict[str, object]:
    field: dict[str, object] = {
        "@type": "cr:Field",
        "@id": f"{name}/{quote(column)}",  # an IRI
        "name": column,
        "description": _meaning(column),
        "dataType": _data_type(table[column]),
        "source": {"fileObject": {"@id": _file_name(name)}, "extract": {"column": column}},
    }
    if (name, column) == ("patients", LABEL):
        field["references"] = {"field": {"@id": f"classes/{LABEL}"}}
    elif column == PATIENT and name != "patients" and NODE not in table:  # of nodes, it is a part of the key alone
        field["references"] = {"fileObject": {"@id": _file_name("patients")}, "extract": {"column": PATIENT}}
    return field


def _meaning(column: str) -> str:
    if column.startswith(INNER):
        return f"Part of the inner validation set of outer fold {column.removeprefix(INNER)}."
    if column.startswith(UNUSED):
        return f"Left out of the training of outer fold {column.removeprefix(UNUSED)}."
    return MEANINGS.get(column, "Clinical column of the cohort.")


def _data_type(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "sc:Boolean"
    if pd.api.types.is_integer_dtype(values):
        return "sc:Integer"
    return "sc:Float" if pd.api.types.is_float_dtype(values) else "sc:Text"
