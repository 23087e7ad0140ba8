"""The log of a model's evaluations, which lies in its folder outside the digest: a second look at a cohort shows."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import ValidationError

from fusion_ln.errors import ModelError
from fusion_ln.files.formats import parse, write_json
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.frozen.folder import LOG
from fusion_ln.records.parts import Strict

RESTORE_LOG = "Restore it from a backup; without it earlier evaluations of the model are not known."


class LogEntry(Strict):
    """An evaluation of a model.

    Attributes:
        date: Day of it.
        digest: Of the model; None of a run that was frozen for the occasion.
        cohort, fingerprint, patients: The other cohort.
        labels: Whether its true classes were looked at.
        protocol: SHA-256 of the protocol's file; None without one.
        place: SHA-256 of the path of the evaluation's folder.
        finished: False from before its figures are written until after: what was killed meanwhile counts as a look,
            but not for the same command once more.
    """

    date: str
    digest: str | None
    cohort: str
    fingerprint: str
    patients: int
    labels: bool
    protocol: str | None = None
    place: str = ""
    finished: bool = True


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


def check_enterable(root: Path) -> None:
    """Check that the log of the model in a folder can be written, before anything is seen.

    Raises:
        ModelError: If it is damaged, or the folder cannot be written to.
    """
    read_log(root)
    try:
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise ModelError(
            f"{root}: cannot be written to ({error.strerror}), but every evaluation is entered in its {LOG}.",
            "Let this account write there.",
        ) from None


@contextmanager
def entered(root: Path, entry: LogEntry) -> Iterator[None]:
    """Enter an evaluation in the log while its figures are written; an error takes the entry back.

    Raises:
        ModelError: If the log is damaged.
    """
    with locked(root / LOCK):
        others = [each for each in read_log(root) if each.finished or each.place != entry.place]
        try:
            _write(root, [*others, entry.model_copy(update={"finished": False})])
            yield
            _write(root, [*others, entry])
        except BaseException:
            _write(root, others)
            raise


def take_over(source: Path, root: Path) -> None:
    """Copy the evaluations of a run, which was frozen for each of them, to the model that it becomes.

    Raises:
        ModelError: If the run's log is damaged.
    """
    (root / LOG).unlink(missing_ok=True)  # a stopped freezing's, maybe of another run
    if entries := read_log(source):
        _write(root, entries)


def earlier_looks(root: Path, fingerprint: str, place: str) -> tuple[str, ...]:
    """List the days on which the model was evaluated on a cohort and its labels, other than by this very command.

    Raises:
        ModelError: If the log is damaged.
    """
    looks = [each for each in read_log(root) if each.fingerprint == fingerprint and each.labels]
    return tuple(each.date for each in looks if each.finished or each.place != place)


def hash_place(folder: Path) -> str:
    """Hash the path of an evaluation's folder, which may name a patient or an account."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()


def _write(root: Path, entries: Sequence[LogEntry]) -> None:
    if entries or (root / LOG).exists():
        write_json(root / LOG, [each.model_dump(mode="json") for each in entries])


def _refuse(path: Path) -> list[LogEntry]:
    raise ModelError(f"{path}: holds no list of evaluations.", RESTORE_LOG)
