"""Logs as lines of JSON; they name routes, never what was sent."""

import json
import logging
import sys
import time
import traceback

LOGGER = logging.getLogger("fusion_ln.serve")


class JsonLines(logging.Formatter):
    """A record as one line: time, level, logger, message, and what was given as ``extra={"facts": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; of an error its place is kept, not its text, which may quote what was sent."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage() if record.name == LOGGER.name else str(record.msg),  # without arguments
        }
        line |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[0]:
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["at"] = [f"{frame.filename}:{frame.lineno}" for frame in frames[-3:]]
        return json.dumps(line)


def log_to_stderr() -> None:
    """Send every log of this process to standard error, as lines of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(logging.INFO)
    logging.getLogger("django.request").setLevel(logging.ERROR)  # refusals are logged as requests
    logging.getLogger("django.security").setLevel(logging.ERROR)
