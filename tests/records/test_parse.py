import json
from pathlib import Path

import pytest

from fusion_ln.errors import RunError, SettingsError
from fusion_ln.records.kinds import (
    RUN_IDENTITY,
    BaselineRecord,
    LateFusionRecord,
    PretrainingRecord,
    TrainedFusionRecord,
)
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parse import parse_record
from fusion_ln.records.parts import CohortSummary, Preparation, PretrainingFit, TaskSummaries, UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings, LateSettings, TrainedFusionSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import BaselineSettings

COHORT = CohortSummary(
    name="tiny",
    simulated=True,
    classes=("a", "b"),
    modalities=("2d",),
    patients=9,
    fingerprint="f",
    folds="k",
    n_folds=2,
)
MEMBERS = {"2d": BaselineSettings(modality="2d")}
FUSED = {"cohort": COHORT, "members": ("../baseline-2d",), **new_origin()}
RECORDS = {
    "baseline": BaselineRecord(settings=MEMBERS["2d"], cohort=COHORT, cohort_path="/there", **new_origin()),
    "late fusion": LateFusionRecord(
        settings=LateSettings(head="late-weighted", members=MEMBERS),
        units=UnitCounts(predicted=9, skipped=0),
        learnt=({"weights": [1.0]}, None),
        **FUSED,
    ),
    "trained fusion": TrainedFusionRecord(
        settings=TrainedFusionSettings(head="concat", members=MEMBERS, training=HeadSettings(head="concat")), **FUSED
    ),
    "pretraining": PretrainingRecord(
        settings=PretrainSettings(),
        cohort=TaskSummaries(tasks=(COHORT,)),
        simulated=True,
        fit=PretrainingFit(
            seconds=1.0, pictures_per_second=2.0, epochs=3, best_epoch=1, precision="32-true", patients={"tiny": (7, 2)}
        ),
        **new_origin(),
    ),
}  # fmt: skip


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_reads_back_as_written_with_its_own_type(record, run):
    run.write_record(record)
    assert run.read_record() == record
    assert type(run.read_record()) is type(record)


def test_the_layout_on_disk_is_that_of_the_first_runs(run):
    run.write_record(RECORDS["late fusion"])
    held = json.loads(run.record.read_text())
    common = ["format", "kind", "settings", "cohort", "command", "started", "versions", "hardware", "folds"]
    assert set(held) == {*common, "members", "units", "learnt"}
    assert (held["format"], held["kind"], held["folds"]) == (1, "fusion", [])
    assert held["settings"]["members"]["2d"]["fit"]["backbone"] == "resnet10t"
    assert held["cohort"] == {
        "name": "tiny", "simulated": True, "classes": ["a", "b"], "modalities": ["2d"], "patients": 9,
        "fingerprint": "f", "folds": "k", "n_folds": 2,
    }  # fmt: skip
    assert held["learnt"] == [{"weights": [1.0]}, None]


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (lambda held: held.pop("versions"), "versions: Field required"),
        (lambda held: held["settings"]["fit"].update(epochs="many"), "settings.fit.epochs: "),
        (lambda held: held["settings"].update(colour="red"), "settings.colour: "),
        (lambda held: held["cohort"].pop("fingerprint"), "cohort.fingerprint: Field required"),
        (
            lambda held: held.update(kind="guess"),
            "kind: 'guess'; expected one of baseline, fusion, clinical, pretraining",
        ),
        (lambda held: held.pop("kind"), "kind: None"),
    ],
)
def test_a_damaged_record_names_file_key_and_way_out(spoil, key, run):
    refuse_spoilt(RECORDS["baseline"], spoil, key, run)


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (lambda held: held["learnt"].pop(), "learnt: expected an entry for each of 2 folds, for 1 baselines"),
        (lambda held: held["learnt"][0]["weights"].append(1.0), "learnt: expected an entry for each of 2 folds"),
        (lambda held: held["learnt"][0].update(weights=["x"]), "learnt.0."),
        (lambda held: held["learnt"][0].update(weights=[float("nan")]), "learnt.0."),
        (lambda held: held["members"].append("../baseline-cdfi"), "members: 2 folders of 1 baselines"),
    ],
)
def test_a_late_fusion_that_cannot_be_of_its_members_is_refused(spoil, key, run):
    refuse_spoilt(RECORDS["late fusion"], spoil, key, run)


def refuse_spoilt(record, spoil, key, run):
    run.write_record(record)
    held = json.loads(run.record.read_text())
    spoil(held)
    run.record.write_text(json.dumps(held))
    with pytest.raises(RunError) as caught:
        run.read_record()
    assert caught.value.problem.startswith(f"{run.record}: cannot be read as the record of a run; {key}")
    assert "Restore the file" in caught.value.way_out


def test_a_setting_without_effect_that_an_earlier_version_recorded_is_read(run, capsys):
    run.write_record(RECORDS["trained fusion"])
    run.record.write_text(run.record.read_text().replace('"depth": 1', '"depth": 2'))
    record = run.read_record()
    assert record.settings.training.depth == 2
    assert "depth has no effect on concat" in capsys.readouterr().err
    run.write_record(record)
    assert run.read_record() == record


def test_folds_tuned_with_such_a_setting_are_read_and_new_ones_refused(run):
    run.write_record(RECORDS["trained fusion"])
    held, folds = json.loads(run.record.read_text()), [{"depth": 2, "lr": 0.5}, {"depth": 3}]
    held["settings"]["training"]["folds"] = folds
    run.record.write_text(json.dumps(held))
    training = run.read_record().settings.training
    assert (training.of_fold(0).depth, training.of_fold(0).lr, training.of_fold(1).depth) == (2, 0.5, 3)
    with pytest.raises(SettingsError, match="depth has no effect on concat"):
        HeadSettings.read({"head": "concat", "folds": folds}, "tuned")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b'"text"'])
def test_a_file_that_is_no_json_object_is_refused(content, run):
    run.root.mkdir()
    run.record.write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json: cannot be read as the record of a run"):
        run.read_record()


@pytest.mark.parametrize("found", [{"format": 2}, {}])
def test_another_format_is_refused_by_its_number(found):
    with pytest.raises(RunError, match=r"run\.json: run format .*; this version reads format 1"):
        parse_record(json.dumps(found), Path("run.json"))


def test_a_password_in_the_command_is_not_recorded(monkeypatch):
    monkeypatch.setattr("sys.argv", ["fusionln", "study", "--storage", "postgresql://me:secret@host/db"])
    assert new_origin()["command"] == "fusionln study --storage postgresql://me:***@host/db"


def test_time_and_machine_are_not_part_of_the_identity():
    assert tuple(RECORDS["baseline"].identity()) == RUN_IDENTITY


def test_paths_of_cohorts_that_earlier_versions_recorded_are_read_over():
    record = RECORDS["pretraining"]
    old = json.dumps({**record.model_dump(mode="json"), "cohort_paths": ["/there"]})
    assert parse_record(old, Path("run.json")) == record


def test_a_preparation_is_counted_in_sentences():
    held = Preparation(crop="auto", accepted=2, mask_text=True, burned_in=3, boxes={"accepted": 2, "screen": 9})
    assert held.counts() == (
        "Pictures cut out of their screens (`--crop auto`) and their texts filled (`--mask-text`) (accepted 2, "
        "screen 9). 2 boxes were given or corrected by hand. 3 files say that text stands in their pixels."
    )
