"""README's example of the Python API, run as it stands there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import FIT

from fusion_ln.settings.training import PRESETS

README = Path(__file__).parents[1] / "README.md"


def write_patients(cohort, folder):
    """Write ``patients.csv`` with one row per patient, and the pictures of a new one."""
    pictures = cohort.images.assign(
        path=[cohort.picture_path(path).relative_to(folder) for path in cohort.images["path"]]
    )
    table = pictures.pivot_table(index="patient_id", columns="modality", values="path", aggfunc="first")
    labels = cohort.patients.set_index("patient_id")["label"].map(dict(enumerate(cohort.classes)))
    table.join(labels).to_csv(folder / "patients.csv")
    for name, modality in {"a": "2d", "c": "elastic"}.items():
        (folder / f"{name}.png").write_bytes((folder / table[modality].iloc[0]).read_bytes())


@pytest.mark.slow
def test_the_example_in_the_readme_runs(make_cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "fast", FIT)
    write_patients(make_cohort(20, absent={3: {"cdfi"}}), tmp_path)
    section = README.read_text(encoding="utf-8").partition("\n## From Python\n")[2].partition("\n## ")[0]
    [example] = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    found = {"__name__": "__main__"}
    exec(compile(example, str(README), "exec"), found)
    runs = [*found["baselines"], found["fusion"]]
    assert [len(pd.read_parquet(run.predictions)) for run in runs] == [20, 19, 20, 20]
    assert set(found["comparison"].models["model"]) == {run.name for run in runs}
    np.testing.assert_allclose(found["answers"].probs.sum(axis=1), 1)
    assert found["answers"].present.tolist() == [[True, False, True]]
    assert "fusion-late-mean" in capsys.readouterr().out
