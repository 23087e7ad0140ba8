"""Records of explanations and of shortcut audits, which `explain` writes and `report` reads."""

from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from fusion_ln.errors import RunError
from fusion_ln.files.formats import write_json
from fusion_ln.records.parts import CohortSummary


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
