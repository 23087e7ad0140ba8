"""Procedure: protocol, settings, versions, time and hashes."""

from collections.abc import Iterator

import pandas as pd

from fusion_ln.records.kinds import LateFusionRecord, TableRecord
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section
from fusion_ln.report.run.text import training_time
from fusion_ln.terms import LABEL, MODALITY, PATIENT, SITE, modality_title

OF_NODES = True
TIME_HEADINGS = {"pictures_per_second": "Pictures/s", "precision": "Arithmetic precision"}


def build(report: Report) -> Section:
    """Build the section."""
    results = report.results
    settings = settings_table(results)
    modalities = results.cohort.modalities
    pictures = {f"pictures {name}": f"Pictures, {modality_title(name)}" for name in modalities}
    return Section(
        place=170,
        anchor="how",
        link="How it was done",
        title="How it was done",
        subtitle="protocol, settings, versions, time, hashes",
        template="methods/procedure.html",
        sheets=[
            Sheet("cohort", "Patients and pictures", cohort_table(results), pictures),
            Sheet("settings", "Settings", settings, words={"models": _titles_of_models(results, settings)}),
            Sheet("time", "Time and speed of every fit", time_table(results), TIME_HEADINGS),
            Sheet(
                "learnt_weights", "Learnt weights", learnt_table(results), {m: modality_title(m) for m in modalities}
            ),
            Sheet("skipped", "Patients without a prediction", skipped_patients(results)),
        ],
        values={"record": results.main.record, "training_time": training_time(results)},
    )


def cohort_table(results: Results) -> pd.DataFrame:
    """Count patients and pictures by class, in all and by site."""
    cohort = results.cohort
    patients = cohort.patients.assign(diagnosis=[cohort.classes[label] for label in cohort.patients[LABEL]])
    groups = patients.groupby("diagnosis", sort=False)
    table = pd.DataFrame({"patients": groups.size(), "share": groups.size() / len(patients)})
    if len(patients[SITE].unique()) > 1:
        for site, part in patients.groupby(SITE):
            table[f"site {site}"] = part.groupby("diagnosis").size()
    for modality in cohort.modalities:
        pictures = cohort.images.loc[cohort.images[MODALITY] == modality, PATIENT]
        table[f"pictures {modality}"] = pictures.map(patients.set_index(PATIENT)["diagnosis"]).value_counts()
    counts = table.columns.drop("share")
    table[counts] = table[counts].fillna(0).astype(int)
    return table.reindex(cohort.classes).rename_axis("class").reset_index()


def settings_table(results: Results) -> pd.DataFrame:
    """List every setting once: its value and the models that have it."""
    rows = [(key, str(value), m.name) for m in results.models for key, value in _flat(_own_settings(m))]
    table = pd.DataFrame(rows, columns=["setting", "value", "models"], dtype=str)
    return table.groupby(["setting", "value"], sort=False)["models"].agg(", ".join).reset_index()


def _titles_of_models(results: Results, table: pd.DataFrame) -> dict[str, str]:
    """Give the titles of the models in each cell of the column of models."""
    titles = {model.name: model.title for model in results.models}
    return {cell: ", ".join(titles[name] for name in cell.split(", ")) for cell in table["models"]}


def time_table(results: Results) -> pd.DataFrame:
    """List epochs, time and speed of every fit."""
    rows = [{"model": m.name, **fold.model_dump()} for m in results.models for fold in m.record.folds]
    return pd.DataFrame(rows)


def learnt_table(results: Results) -> pd.DataFrame:
    """List the weight that each fusion with learnt weights gives each modality, by fold."""
    rows = []
    for model in results.fusions:
        if not isinstance(model.record, LateFusionRecord):
            continue
        for fold, learnt in enumerate(model.record.learnt or ()):
            if learnt and "weights" in learnt:
                weights = dict(zip(model.record.settings.members, learnt["weights"], strict=True))
                rows.append({"model": model.name, "fold": fold, **weights})
    found = {column for row in rows for column in row}
    return pd.DataFrame(rows, columns=["model", "fold", *(m for m in results.cohort.modalities if m in found)])


def skipped_patients(results: Results) -> pd.DataFrame:
    """List ``model, patient_id, reason`` of the patients whom a model did not predict."""
    everyone = set(results.cohort.patients[PATIENT])
    rows = []
    for model in results.models:
        titles = " or ".join(modality_title(m) for m in model.modalities)
        pictured = set().union(*(results.cohort.patients_with(m) for m in model.modalities))
        for patient in sorted(everyone - set(model.predictions.patients)):
            reason = "not predicted" if patient in pictured else f"no picture: {titles}"
            rows.append((model.name, patient, reason))
    return pd.DataFrame(rows, columns=["model", PATIENT, "reason"])


def _own_settings(model: Model) -> dict[str, object]:
    """Give the settings without those in the model's name and without a fusion's members, which are runs themselves."""
    if isinstance(model.record, TableRecord):
        return {}
    return model.record.settings.model_dump(mode="json", exclude={"modality", "head", "members"})


def _flat(settings: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Flatten nested settings to dotted keys."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
