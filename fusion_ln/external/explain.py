"""Explanation of a model's answers to patients of another cohort: a panel of maps per patient."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError, SettingsError
from fusion_ln.explain.frozen import FrozenExplainer, Maps
from fusion_ln.explain.methods import METHODS
from fusion_ln.explain.request import SAMPLE, ExplainSettings
from fusion_ln.files.atomic import write_bytes
from fusion_ln.files.formats import write_csv
from fusion_ln.files.names import as_file_name
from fusion_ln.frozen.card import describe_tests
from fusion_ln.images.bank import ImageBank, open_bank
from fusion_ln.predict.predictor import Predictor, load_predictor
from fusion_ln.predict.present import as_table
from fusion_ln.progress import progress, say
from fusion_ln.report.explanation.overlays import draw_panel, on_one_scale, overlay_cell, picture_cell
from fusion_ln.terms import PATIENT, modality_title

ANSWERS = "answers.csv"


def explain_cohort(root: Path, cohort: Cohort, settings: ExplainSettings, out: Path) -> list[Path]:
    """Explain a model's answers to patients whom it has not seen: the mean of its models' maps for the likeliest class.

    Args:
        root: A model's folder.
        cohort: The patients' cohort.
        settings: Patients, or how many to draw, and methods.
        out: Folder of a panel per patient and of the table of answers.

    Raises:
        RunError: If ``out`` holds something else, a patient is not in the cohort, or the model was trained on one.
        SettingsError: If a method does not fit the networks.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / ANSWERS).is_file():
        raise RunError(f"{out}: holds something else.", "Choose another folder with `--out DIR`.")
    predictor = load_predictor(root)
    explainer = FrozenExplainer.of(predictor.model)
    if unfit := [name for name in settings.methods if name not in explainer.fitting]:
        allowed = f"Choose of {', '.join(explainer.fitting)}."
        raise SettingsError(f"--method {unfit[0]}: the networks of {root} do not allow it.", allowed)
    tests = predictor.model.record.map_tests
    if tests:
        say(describe_tests(tests))
    trusted = tests.trusted if tests else None
    methods = sorted(settings.methods or explainer.fitting, key=lambda name: name != trusted)
    part = _choose(cohort, predictor, settings)
    answers = predictor.predict_cohort(part)
    sides = predictor.model.record.modalities
    banks = {m: open_bank(part, m, side) for m, side in sides.items() if m in part.modalities and part.patients_with(m)}
    panels = []
    with progress("Explaining", len(answers.patients)) as step:
        for patient, probs in zip(answers.patients.tolist(), answers.probs, strict=True):
            own = {m: _first_picture(bank, patient) for m, bank in banks.items()}
            row = part.patients[part.patients[PATIENT] == patient]
            steps = explainer.maps(predictor.gather(own), row, int(probs.argmax()), methods)
            panel = _draw(predictor, patient, probs, own, _result(steps))
            write_bytes(path := out / f"{as_file_name(patient)}.png", panel)
            panels.append(path)
            step(patient)
    write_csv(out / ANSWERS, as_table(predictor, answers))
    return panels


def _choose(cohort: Cohort, predictor: Predictor, settings: ExplainSettings) -> Cohort:
    """Keep the named patients, or a draw of those with a picture that the model takes."""
    held = [m for m in predictor.model.modalities if m in cohort.modalities]
    known = sorted({patient for m in held for patient in cohort.patients_with(m)})
    if missing := [patient for patient in settings.patients if patient not in set(known)]:
        raise RunError(
            f"patient {missing[0]!r}: has no picture in cohort {cohort.name} that the model takes "
            f"({', '.join(predictor.model.modalities)}).",
            "See the ids in the cohort's patients.parquet.",
        )
    drawn = np.random.default_rng(settings.seed).permutation(known)[: settings.sample or SAMPLE]
    chosen = settings.patients or drawn.tolist()
    patients, images = (table[table[PATIENT].isin(chosen)] for table in (cohort.patients, cohort.images))
    return replace(cohort, patients=patients.reset_index(drop=True), images=images.reset_index(drop=True))


def _first_picture(bank: ImageBank, patient: str) -> ImageBank:
    rows = bank.rows_of([patient])[:1]
    return ImageBank(bank.pixels[rows], bank.patients[rows], bank.labels[rows])


def _result(steps: Generator[None, None, Maps]) -> Maps:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Maps = end.value
            return found


def _draw(
    predictor: Predictor, patient: str, probs: np.ndarray, pictures: Mapping[str, ImageBank], maps: Maps
) -> bytes:
    """Draw the panel of a patient; the maps of a method share a scale."""
    record = predictor.model.record
    heat, scales = on_one_scale(maps)
    rows = []
    for m, held in heat.items():
        picture = np.asarray(pictures[m].pixels[0])
        cells = [overlay_cell(picture, held[name], scale) for name, scale in scales.items()]
        rows.append((modality_title(m), [picture_cell(picture), *cells]))
    title = f"{patient}: {record.classes[int(probs.argmax())]}, {probs.max():.2f}"
    n = len(predictor.model.models)
    maps_of = "Maps" if n == 1 else f"Mean of the maps of {n} models"
    foot = f"{maps_of} for the first picture of each modality."
    if record.map_tests and record.map_tests.trusted in scales:
        foot += f" Trusted most: {record.map_tests.title}."
    if record.study.simulated:
        foot += " The model was trained on simulated patients."
    return draw_panel(title, ["Picture", *(METHODS[name].title for name in scales)], rows, foot)
