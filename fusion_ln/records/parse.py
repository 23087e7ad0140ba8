"""Reading of `run.json` into the record of its kind."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from fusion_ln.errors import RunError
from fusion_ln.files.formats import parse
from fusion_ln.records.kinds import (
    BaselineRecord,
    ClinicalRecord,
    LateFusionRecord,
    PretrainingRecord,
    TrainedFusionRecord,
)
from fusion_ln.settings.base import RECORDED

FORMAT_VERSION = 1


def _tag_of(record: dict[str, Any]) -> str:
    """Name the kind of record; of both fusions, of kind ``fusion``, only a trained one has settings of its training."""
    kind = str(record.get("kind"))
    if kind != "fusion":
        return kind
    settings = record.get("settings")
    return "trained fusion" if isinstance(settings, dict) and "training" in settings else "late fusion"


PredictionRecord = BaselineRecord | LateFusionRecord | TrainedFusionRecord | ClinicalRecord
RunRecord = Annotated[
    Annotated[BaselineRecord, Tag("baseline")]
    | Annotated[LateFusionRecord, Tag("late fusion")]
    | Annotated[TrainedFusionRecord, Tag("trained fusion")]
    | Annotated[ClinicalRecord, Tag("clinical")]
    | Annotated[PretrainingRecord, Tag("pretraining")],
    Discriminator(_tag_of),
]
RECORD_KINDS = ("baseline", "fusion", "clinical", "pretraining")
_RECORDS: TypeAdapter[RunRecord] = TypeAdapter(RunRecord)


def parse_record(text: str, file: Path) -> RunRecord:
    """Read the content of a run.json.

    Raises:
        RunError: If it is damaged or of another format, naming ``file`` and the first key that does not fit.
    """
    try:
        held: object = parse(text, json.loads)
    except ValueError as error:
        raise _damaged(file, f"not valid JSON ({error})") from None
    if not isinstance(held, dict):
        raise _damaged(file, "not a JSON object")
    if held.get("format") != FORMAT_VERSION:
        raise RunError(
            f"{file}: run format {held.get('format')!r}; this version reads format {FORMAT_VERSION}.",
            "Read it with the version of fusion_ln that wrote it, or run again in another folder (`--out DIR`).",
        )
    if held.get("kind") not in RECORD_KINDS:
        raise _damaged(file, f"kind: {held.get('kind')!r}; expected one of {', '.join(RECORD_KINDS)}")
    try:
        return _RECORDS.validate_python(held, context=RECORDED)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"][1:]))  # without the tag
        raise _damaged(file, f"{key}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None


def _damaged(file: Path, found: str) -> RunError:
    return RunError(
        f"{file}: cannot be read as the record of a run; {found}.",
        "Restore the file, or run again in another folder (`--out DIR`).",
    )
