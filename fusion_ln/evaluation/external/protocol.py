"""The protocol of an evaluation: its primary endpoint, margin and subgroups, written before anything is seen."""

import hashlib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from fusion_ln.errors import SettingsError, unknown
from fusion_ln.evaluation.external.figures import PointEstimate
from fusion_ln.files.formats import parse
from fusion_ln.records.parts import Strict

Verdict = Literal["met", "not met", "not shown"]
TARGETS = {"slope": 1.0, "intercept": 0.0}  # of figures that are best at a value; all others are best when high
EXAMPLE = 'endpoint = "auc_ovr"\n    margin = 0.85\n    subgroups = ["site", "sex"]'


class EvaluationProtocol(BaseModel):
    """Choices that an evaluation binds itself to.

    Attributes:
        title: Of the evaluation.
        endpoint: Name of the primary figure, see `endpoint_names`.
        margin: Least acceptable value; of a slope or an intercept the greatest distance from 1 or 0.
        subgroups: Variables of the cohort's table by whose levels the patients are scored, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str = ""
    endpoint: str
    margin: Annotated[FiniteFloat, Field(gt=0)]
    subgroups: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @property
    def target(self) -> float | None:
        """Best value of an endpoint that is neither best when high nor when low."""
        return TARGETS.get(self.endpoint.partition(":")[0])

    def judge(self, found: PointEstimate) -> Verdict:
        """Say whether the margin is met: by the whole interval (met), by none of it (not met), or by a part."""
        if found.low is None or found.high is None:
            return "not shown"
        if self.target is None:
            return "met" if found.low >= self.margin else "not met" if found.high < self.margin else "not shown"
        low, high = self.target - self.margin, self.target + self.margin
        if low <= found.low and found.high <= high:
            return "met"
        return "not met" if found.high < low or found.low > high else "not shown"


class StoredProtocol(Strict):
    """A protocol as it was read, with the SHA-256 of its file."""

    sha256: str
    content: EvaluationProtocol


def read_protocol(path: Path, endpoints: Collection[str]) -> StoredProtocol:
    """Read a protocol from a TOML file.

    Args:
        path: The file.
        endpoints: Names of the figures that there will be.

    Raises:
        SettingsError: If it is no TOML, holds another key or a wrong value, or names an unknown endpoint.
    """
    data = path.read_bytes()
    way_out = f"A protocol reads, for example:\n    {EXAMPLE}"
    try:
        held = parse(data.decode(), tomllib.loads)
    except ValueError as error:
        raise SettingsError(f"{path}: not valid TOML ({error}).", way_out) from None
    try:
        content = EvaluationProtocol.model_validate(held)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise SettingsError(
                *unknown("key of a protocol", key, list(EvaluationProtocol.model_fields), where=str(path))
            ) from None
        found = "is missing" if first["type"] == "missing" else f"{first['input']!r}: {first['msg']}"
        raise SettingsError(f"{path}: {key}: {found}.", way_out) from None
    if content.endpoint not in endpoints:
        raise SettingsError(*unknown("endpoint", content.endpoint, list(endpoints), where=str(path)))
    if content.target is None and content.margin >= 1:
        raise SettingsError(
            f"{path}: margin: {content.margin:g}; {content.endpoint} never exceeds 1.",
            "Give the least value that is acceptable, below 1.",
        )
    return StoredProtocol(sha256=hashlib.sha256(data).hexdigest(), content=content)
