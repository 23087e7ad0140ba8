"""Cautions: what a reader of an answer must know, in words and in a word for programs."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

CautionCode = Literal[
    "text-in-picture", "first-frame", "trained-on", "not-checked", "keeps-uploads", "no-device", "simulated", "paper"
]


class Caution(NamedTuple):
    """A caution; code: None if only the text says it."""

    text: str
    code: CautionCode | None = None


def as_fields(cautions: Sequence[Caution]) -> dict[str, object]:
    """Describe cautions as fields of an answer: texts and, in the same order, their codes."""
    return {"warnings": [each.text for each in cautions], "warning_codes": [each.code for each in cautions]}
