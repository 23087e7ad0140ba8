"""Storage of studies: budgets, heartbeats of running trials, and the retry of trials whose worker died.

A running trial has a beat, an attribute that its worker changes every few seconds. A worker that sees the same beat of
another for too long, by its own clock, takes that one for dead and queues the trial again; if several do so at once,
the storage admits one. This works on a journal file and in a database; Optuna's own heartbeats need a common clock.
"""

import errno
import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, SQLAlchemyError

from fusion_ln.errors import StudyError, in_short, pip_install
from fusion_ln.progress import say
from fusion_ln.records.origin import PASSWORD
from fusion_ln.tuning.results import finished

T = TypeVar("T")

FIRST_BYTES = b'{"op_code":'  # of a journal
SQLITE = b"SQLite format 3"  # first bytes of a database
BEAT = "beat"  # attribute of a running trial
RECONNECTS = 5  # further attempts to reach a storage
FIRST_PAUSE = 1.0  # seconds before the first of them; each later pause is twice as long
ATTEMPTS = 3  # runs of a trial whose worker dies each time
NOT_WRITABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
)


@dataclass(frozen=True)
class Heartbeat:
    """Heartbeat of a running trial: seconds between beats, and the longest silence, in seconds."""

    interval: float = 20.0
    grace: float = 120.0


@dataclass(frozen=True)
class Budget:
    """Budget of a study: finished trials, or seconds of computing, whichever is spent first."""

    trials: int | None = None
    seconds: float | None = None

    def allows(self, trials: list[FrozenTrial]) -> bool:
        """Test if a further trial may begin."""
        begun = [trial for trial in trials if trial.state not in (TrialState.WAITING, TrialState.FAIL)]
        enough = self.trials is not None and len(begun) >= self.trials
        return not enough and (self.seconds is None or seconds_spent(trials) < self.seconds)

    def is_spent(self, trials: list[FrozenTrial]) -> bool:
        """Test if the study is done: enough trials are finished, or none runs and no further one may begin."""
        running = any(trial.state == TrialState.RUNNING for trial in trials)
        done = self.trials is not None and len(finished(trials)) >= self.trials
        return done or (not running and not self.allows(trials))

    def has_room_for(self, trial: Trial, trials: list[FrozenTrial]) -> bool:
        """Test if a trial that just began is within the budget; of two that began at once, the first is."""
        before = sum(t.number < trial.number and t.state != TrialState.FAIL for t in trials)
        return self.trials is None or before < self.trials


def seconds_spent(trials: list[FrozenTrial]) -> float:
    """Sum the computing time of the finished trials."""
    return sum(t.duration.total_seconds() for t in finished(trials) if t.duration)


def quiet_optuna() -> None:
    """Let Optuna say errors only: our messages say the rest."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_storage(place: str) -> BaseStorage:
    """Open the storage at a URL, or the journal file at a path.

    The journal's lock is a file that only one process can create, which holds on local disks and on network drives
    (NFS since version 3, SMB) alike.

    Raises:
        StudyError: If it cannot be reached after some tries, its driver is not installed, or the file is damaged or no
            journal.
    """
    quiet_optuna()
    if "://" not in place:
        return with_retries(lambda: _open_journal(Path(place)), place)
    try:
        make_url(place)
        return with_retries(lambda: RDBStorage(place, engine_kwargs={"pool_pre_ping": True}), hide_password(place))
    except (ArgumentError, NoSuchModuleError):
        raise StudyError(
            f"{hide_password(place)}: not the URL of a database.",
            "As in `postgresql+psycopg://user@host/database`, or the path of a journal file.",
        ) from None
    except RuntimeError as error:  # made by another version of Optuna
        raise StudyError(
            f"{hide_password(place)}: this version of Optuna cannot read the database ({in_short(error)}).",
            f"Change its version, `optuna storage upgrade --storage '{hide_password(place)}'`, or choose another "
            "place with `--storage`.",
        ) from None
    except ImportError:
        extra = pip_install("postgres") if place.startswith("postgresql") else "its Python driver"
        raise StudyError(
            f"{hide_password(place)}: the driver of this database is missing.", f"Install {extra}."
        ) from None


class _JournalLock(JournalFileOpenLock):
    """Lock of a journal that first cuts off half a line, as a full disk leaves it: the next line would hide in it."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self.journal = journal

    def acquire(self) -> bool:
        """Wait for the lock."""
        taken = super().acquire()
        try:
            with self.journal.open("rb+") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                if size and file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        except OSError:
            self.release()
            raise
        return taken


class _Journal(JournalFileBackend):
    """Journal that knows which line was read last, counted from 1."""

    line = 0

    def read_logs(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
        """Read the lines from this one on, counted from 0."""
        logs = super().read_logs(log_number_from)
        for self.line in itertools.count(log_number_from + 1):
            try:
                log = next(logs)
            except StopIteration:
                return
            yield log


def _open_journal(path: Path) -> BaseStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = _Journal(str(path), lock_obj=_JournalLock(path))
    _refuse_other_file(path)
    try:
        return JournalStorage(journal)
    except OSError:
        raise
    except Exception as error:  # Optuna trusts every line, so anything may come of a damaged one
        good, rest = journal.line - 1, path.with_name(f"mended-{path.name}")
        kept = (
            f"`head -n {good} '{path}' > '{rest}'` and `--storage '{rest}'` go on after line {good}. " if good else ""
        )
        raise StudyError(
            f"{path}: line {journal.line} of this journal is damaged ({in_short(error)}).",
            f"Restore the file. Or {kept}Or begin anew: move the file away.",
        ) from None


def _refuse_other_file(path: Path) -> None:
    """Refuse a file that is no journal, before anything is cut off or appended."""
    with path.open("rb") as file:
        begin = file.read(len(SQLITE))
    if begin.startswith(FIRST_BYTES) or FIRST_BYTES.startswith(begin):
        return
    database = f" A database of SQLite is given as `sqlite:///{path}`." if begin == SQLITE else ""
    raise StudyError(
        f"{path}: not a journal of studies, so it is left as it is.",
        f"Name another file, which is made where there is none, or the URL of a database.{database}",
    )


def hide_password(place: str) -> str:
    """Hide the password in the URL of a storage."""
    return PASSWORD.sub(r"\1:***@", place)


def with_retries(action: Callable[[], T], where: str) -> T:
    """Run an action on the storage; retry it after a pause if the storage cannot be reached.

    Raises:
        StudyError: If it still fails after `RECONNECTS` more tries, or may not be written to, which no try mends.
    """
    for attempt in range(RECONNECTS + 1):
        try:
            return action()
        except (ArgumentError, NoSuchModuleError):  # no storage at all
            raise
        except (SQLAlchemyError, OSError, optuna.exceptions.StorageInternalError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            if type(error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error) is DatabaseError:
                raise StudyError(
                    f"{where}: the storage of the study is no database, or a damaged one ({reason}).",
                    "Restore it, or choose another place with `--storage`.",
                ) from None
            if _stays(error, reason):
                raise StudyError(
                    f"{where}: the storage of the study cannot be written ({reason}).",
                    "Free some space, or let this account write there, then give the same command again: finished "
                    "trials are kept. Or choose another place with `--storage`.",
                ) from None
            if attempt == RECONNECTS:
                raise StudyError(
                    f"{where}: the storage of the study cannot be reached ({reason}).",
                    "Look whether it runs and lets you in, then give the same command again: finished trials are kept.",
                ) from None
            pause = FIRST_PAUSE * 2**attempt
            say(f"{where}: cannot be reached ({reason}); trying again in {pause:.0f} s ({attempt + 1} of {RECONNECTS})")
            time.sleep(pause)
    raise AssertionError


def _stays(error: Exception, reason: str) -> bool:
    """Test if a storage may not be written to, which no pause changes."""
    cause = error.__cause__ or error
    return (isinstance(cause, OSError) and cause.errno in NOT_WRITABLE) or "readonly database" in reason


@contextmanager
def send_heartbeats(trial: Trial, heartbeat: Heartbeat) -> Iterator[None]:
    """Send heartbeats for a trial while the context is open."""
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            # If it fails, others may take this worker for dead; the worker itself will meet the same failure.
            with suppress(SQLAlchemyError, OSError, RuntimeError, KeyError, optuna.exceptions.OptunaError):
                trial.set_user_attr(BEAT, count)
            stop.wait(heartbeat.interval)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass
class TrialMonitor:
    """Monitor of the running trials of a study: a beat that stays the same too long means that the worker died."""

    heartbeat: Heartbeat
    beats: dict[int, tuple[object, float]] = field(default_factory=dict)  # by trial: last beat and time of its change

    def requeue_dead(self, study: optuna.Study, trials: list[FrozenTrial]) -> bool:
        """Queue the trials of workers that died once more; returns whether there was one."""
        now, found = time.monotonic(), False
        for trial in (t for t in trials if t.state == TrialState.RUNNING):
            beat = trial.user_attrs.get(BEAT)
            last, changed = self.beats.get(trial.number, (beat, now))
            self.beats[trial.number] = (beat, changed if last == beat else now)
            if now - self.beats[trial.number][1] > self.heartbeat.grace:
                found = requeue(study, trial, ATTEMPTS) or found
        return found


def is_retry(trial: FrozenTrial) -> bool:
    """Test if a trial is another attempt at the settings of one that was broken off."""
    return "failed_trial" in trial.system_attrs  # by `RetryHeartbeatStaleTrialCallback`


def requeue(study: optuna.Study, trial: FrozenTrial, attempts: int | None = None) -> bool:
    """Mark a running trial failed and queue its settings again; False if another worker already did.

    With ``attempts`` they are given up after so many.
    """
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    RetryHeartbeatStaleTrialCallback(max_retry=attempts and attempts - 1)(study, trial)
    return True
