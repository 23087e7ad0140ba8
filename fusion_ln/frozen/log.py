"""The log of a model's evaluations, which lies in its folder outside the digest: a second look at a cohort shows."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fusion_ln.errors import ModelError
from fusion_ln.files.formats import parse, write_json
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.frozen.folder import LOG

RESTORE_LOG = "Restore it from a backup; without it earlier evaluations of the model are not known."


class LogEntry(BaseModel):
    """An evaluation of a model.

    Attributes:
        date: Day of it.
        digest: Of the model; None of a run that was frozen for the occasion.
        cohort, fingerprint, patients: The other cohort.
        labels: Whether its true classes were looked at.
        protocol: SHA-256 of the protocol's file; None without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    digest: str | None
    cohort: str
    fingerprint: str
    patients: int
    labels: bool
    protocol: str | None = None


def read_log(root: Path) -> list[LogEntry]:
    """Read the evaluations of the model in a folder, the first one first; none without a log.

    Raises:
        ModelError: If the log is damaged.
    """
    path = root / LOG
    try:
        held: object = parse(path.read_text(encoding="utf-8"), json.loads)
        return [LogEntry.model_validate(entry) for entry in held] if isinstance(held, list) else _refuse(path)
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise ModelError(f"{path}: {error.errors()[0]['msg']}.", RESTORE_LOG) from None
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON ({error}).", RESTORE_LOG) from None


def enter(root: Path, entry: LogEntry) -> list[LogEntry]:
    """Enter an evaluation in the log; returns the earlier ones on the same cohort that looked at labels.

    Raises:
        ModelError: If the log is damaged.
    """
    with locked(root / LOCK):
        entries = read_log(root)
        write_json(root / LOG, [each.model_dump(mode="json") for each in [*entries, entry]])
    return [each for each in entries if each.fingerprint == entry.fingerprint and each.labels]


def _refuse(path: Path) -> list[LogEntry]:
    raise ModelError(f"{path}: holds no list of evaluations.", RESTORE_LOG)
