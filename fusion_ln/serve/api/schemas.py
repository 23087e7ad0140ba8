"""Answers of the interface, as its OpenAPI document describes them."""

from ninja import Field, Schema

from fusion_ln.errors import PictureFault
from fusion_ln.serve.cautions import CautionCode


class ModelName(Schema):
    """The model of an answer."""

    title: str
    digest: str | None


class Engine(Schema):
    """Engine that computed the networks and fusions of an answer, torch or onnxruntime, and its version."""

    name: str
    version: str


class Prediction(Schema):
    """The answer for a patient, as in the JSON of `fusionln predict`, with what a reader must know."""

    probabilities: dict[str, float]
    set: list[str]
    contributions: dict[str, float]
    alone: dict[str, dict[str, float]]
    modalities: list[str]
    kind: str
    unlike: bool | None
    model: ModelName
    engine: Engine
    warnings: list[str]
    warning_codes: list[CautionCode | None]


class Method(Schema):
    """An attribution method; trusted: the one that did best in the tests of the study, if better than random maps."""

    name: str
    title: str
    trusted: bool


class TestedMaps(Schema):
    """The attribution method that did best in the tests of the study, and random maps beside it.

    Gain: rise of the probability when its pixels are put in instead of taken out, mean over the patients.
    """

    method: str
    title: str
    gain: float
    random: float
    patients: int


class Explanation(Schema):
    """Maps of a patient's pictures: where they speak for the likeliest class. Pictures are data URLs of PNG."""

    target: str
    pictures: dict[str, str]
    maps: dict[str, dict[str, str]]
    methods: list[Method]


class Preview(Schema):
    """A picture to be looked at; its modality is guessed by its colours, and to be corrected by hand."""

    modality: str | None
    width: int
    height: int
    preview: str
    warnings: list[str]
    warning_codes: list[CautionCode | None]


class EvaluationEntry(Schema):
    """An evaluation of the model on another cohort, from its log; labels: if the true classes were looked at."""

    date: str
    cohort: str
    patients: int
    labels: bool


class ServedModel(Schema):
    """A model that this server asks; coverage: aim of its sets; colours: on a light and on a dark page."""

    title: str
    digest: str | None
    classes: list[str]
    class_titles: dict[str, str]
    modalities: list[str]
    modality_titles: dict[str, str]
    modality_colours: dict[str, tuple[str, str]]
    clinical: list[str]
    answer: str
    licence: str
    cohort: str
    patients: dict[str, int]
    simulated: bool
    coverage: float
    evaluations: list[EvaluationEntry]
    methods: list[Method]
    map_tests: TestedMaps | None
    keeps_uploads: bool
    has_report: bool
    has_facts: bool
    warnings: list[str]
    warning_codes: list[CautionCode | None]


class Link(Schema):
    """An address elsewhere."""

    title: str
    url: str
    licence: str | None = None


class CohortSummary(Schema):
    """The cohort that the model was trained on, of no patient in particular."""

    name: str
    simulated: bool
    licence: str | None
    patients: dict[str, int]
    pictures: dict[str, int]
    folds: int
    data_sets: list[Link]
    code: list[Link]


class Example(Schema):
    """A simulated patient: the true class, and the address of each picture."""

    name: str
    class_: str = Field(alias="class")
    pictures: dict[str, str]


class Session(Schema):
    """State of a browser: if a token is needed, and if it has given it."""

    needed: bool
    open: bool


class Token(Schema):
    """The server's token."""

    token: str


class Health(Schema):
    """State of the server."""

    version: str
    waiting: int


class Failure(Schema):
    """Problem of a request, and the way out (application/problem+json); fault: of a picture, in a word."""

    title: str
    status: int
    detail: str
    way_out: str
    fault: PictureFault | None
