import shutil

import pytest

from fusion_ln.errors import RunError
from fusion_ln.report.run.reading import read_inputs
from fusion_ln.runs import RunFolder


@pytest.fixture
def paths(maker):
    """Two baselines and their fusion, as paths."""
    return [maker.baseline("2d").root, maker.baseline("elastic").root, maker.fusion().root]


def set_cohort(paths, folder):
    for path in paths:
        run = RunFolder(path)
        run.write_record(run.read_record().model_copy(update={"cohort_path": str(folder)}))


def test_runs_are_compared_with_their_cohorts_best_single_modality(paths, cohort):
    set_cohort(paths, cohort.root)
    results = read_inputs(paths)
    assert results.reference.modalities == ("elastic",)
    assert results.candidate.name == "fusion-late-mean"
    assert len(results.cohort.images) > 0


def test_a_lost_cohort_leaves_patients_classes_and_the_word_simulated(paths, cohort, tmp_path):
    set_cohort(paths, tmp_path / "gone")
    results = read_inputs(paths)
    assert results.cohort.simulated
    assert results.cohort.classes == cohort.classes
    assert results.cohort.images.empty
    assert read_inputs(paths, cohort=cohort.root).cohort.source == "phantom"


def test_a_table_in_its_run_folder_is_the_run_and_elsewhere_itself(paths, cohort, tmp_path):
    set_cohort(paths, cohort.root)
    tables = [path / "predictions.parquet" for path in paths]
    assert [m.title for m in read_inputs(tables).models] == [m.title for m in read_inputs(paths).models]
    bare = tmp_path / "elsewhere" / "predictions.parquet"
    bare.parent.mkdir()
    shutil.copy(tables[0], bare)
    shutil.copy(paths[0] / "inner_predictions.parquet", bare.parent)
    model = next(m for m in read_inputs([bare, *paths]).models if m.is_table)
    assert model.what == "elsewhere"
    assert model.inner is not None


def test_a_variant_of_a_head_is_told_from_the_head_itself(paths, cohort):
    set_cohort(paths, cohort.root)
    again = shutil.copytree(paths[2], paths[2].with_name("fusion-late-mean-again"))
    assert [m.what for m in read_inputs([*paths, again]).fusions] == [
        "Mean of probabilities", "Mean of probabilities, again",
    ]  # fmt: skip


def test_runs_of_two_cohorts_are_refused(paths, other_cohort, maker, tmp_path):
    maker.cohort, maker.root = other_cohort, tmp_path / "others"
    with pytest.raises(RunError, match="made on another cohort: phantom-40"):
        read_inputs([paths[0], maker.baseline("cdfi").root])
