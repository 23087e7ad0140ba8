"""Records of explanations and of shortcut audits, which `explain` writes and `report` reads, and the tests of maps."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from fusion_ln.decode.stored import load_arrays, read_stored_table
from fusion_ln.errors import RunError
from fusion_ln.files.formats import write_json
from fusion_ln.files.hashes import hash_file
from fusion_ln.records.parts import CohortSummary, Strict
from fusion_ln.runs import ExplanationFolder, RunFolder
from fusion_ln.terms import PATIENT, RANDOM_MAPS

EXPLAIN_AGAIN = "Give the command that explained the run again: it makes the file anew."


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            RunError: If the file is missing or does not hold such a record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError:
            raise RunError(f"{path}: is missing.", "Give the command that writes it again.") from None
        except ValidationError as error:
            first = error.errors()[0]
            problem = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
            raise RunError(
                f"{path}: damaged ({problem}).", "Delete it and give the command that writes it again."
            ) from None

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        write_json(path, self.model_dump(mode="json"))


class MethodRecord(BaseModel):
    """Attribution method, described for a reader.

    Attributes:
        name: Name, as in ``--method``.
        title: Name for a reader.
        description: Meaning of its maps, in one sentence.
    """

    name: str
    title: str
    description: str = Field(validation_alias=AliasChoices("description", "says"))  # `says` in older folders


class ExplanationRecord(_Record):
    """Content of an explanation.json.

    Attributes:
        run: Name of the explained run.
        settings: Its settings.
        predictions: SHA-256 of its out-of-fold predictions.
        simulated: The run was trained on simulated patients.
        classes: Class names, in label order.
        sides: Pixels a side of the pictures, by modality.
        methods: Attribution methods.
        grids: Rows and columns of Grad-CAM's feature planes, by modality.
        trust: The maps were scored.
        randomized_shares: Shares of the weights that were shuffled, see `MapScores.randomised`.
        errors: Patients were drawn from the misclassified ones.
        named: Patients were named by the user.
    """

    run: str
    settings: dict[str, JsonValue]
    predictions: str
    simulated: bool
    classes: tuple[str, ...]
    sides: dict[str, int]
    methods: tuple[MethodRecord, ...]
    grids: dict[str, tuple[int, int]]
    trust: bool
    randomized_shares: tuple[float, ...] = Field(validation_alias=AliasChoices("randomized_shares", "forgotten"))
    errors: bool
    named: bool


class AuditRecord(_Record):
    """Content of an audit.json.

    Attributes:
        run: Name of the audited run.
        kind: Kind of the run.
        settings: Its settings.
        cohort: Its cohort.
        modalities: Its modalities.
        regions: Source of the node and of the burned-in marks: the truth of a phantom, or rules.
        examples: Patients whose altered pictures were kept.
        seed: Seed of the swaps between patients.
        versions: Versions of the packages.
    """

    run: str
    kind: str
    settings: dict[str, JsonValue] = {}
    cohort: CohortSummary
    modalities: tuple[str, ...]
    regions: Literal["truth", "rule"]
    examples: tuple[str, ...]
    seed: int
    versions: dict[str, str]


class MapTests(Strict):
    """Tests of the attribution maps of a run: the method whose pixels change the probability most, and by how much.

    Attributes:
        method, title: Name of the method, and for a reader.
        gain: Its insertion curve less its deletion curve, mean over steps and patients.
        random: The same of random maps.
        patients: Number of patients whose maps were tested.
    """

    method: str
    title: str
    gain: FiniteFloat
    random: FiniteFloat
    patients: Annotated[int, Field(ge=1)]

    @property
    def trusted(self) -> str | None:
        """The method that is trusted most; None if none beats random maps."""
        return self.method if self.gain > self.random else None


def read_map_tests(run: RunFolder) -> MapTests | None:
    """Read how the maps in a run's explanation did; None without an explanation of this run whose maps were tested.

    Raises:
        RunError: If the explanation is unfinished or damaged.
    """
    folder = run.explanation
    if not folder.record.is_file():
        return None
    record = ExplanationRecord.read(folder.record)
    if not record.trust or not record.methods or record.predictions != hash_file(run.predictions):
        return None
    if not folder.patients.is_file():
        raise RunError(f"{folder.root}: is unfinished.", EXPLAIN_AGAIN)
    patients = read_stored_table(folder.patients, EXPLAIN_AGAIN, {PATIENT: "text"})[PATIENT].tolist()
    gains = {each.name: _gain_of(folder, each.name, patients) for each in record.methods}
    best = max(record.methods, key=lambda each: gains[each.name])
    return MapTests(
        method=best.name,
        title=best.title,
        gain=gains[best.name],
        random=_gain_of(folder, RANDOM_MAPS, patients),
        patients=len(patients),
    )


def _gain_of(folder: ExplanationFolder, method: str, patients: list[str]) -> float:
    """Compute the mean of insertion less deletion over the steps of the curves and the patients."""
    gains = []
    for patient in patients:
        held = load_arrays(path := folder.maps(method, patient)) or {}
        if not {"insertion", "deletion"} <= held.keys():
            raise RunError(f"{path}: is missing or damaged.", EXPLAIN_AGAIN)
        gains.append(float(held["insertion"].mean() - held["deletion"].mean()))
    return float(np.mean(gains))
