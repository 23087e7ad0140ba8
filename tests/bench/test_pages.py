"""Measurements on as little as it takes: their pages, not their figures."""

import re

import pytest
from tiny import fusionln

from fusion_ln.bench.studies import GROUPS, bench_study


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_statistics_are_printed_as_the_page_that_is_written(tmp_path):
    out = tmp_path / "statistics.md"
    printed = fusionln(
        "bench", "statistics", "--models", 2, "--patients", 60, "--resamples", 100, "--many", 90, "--out", out
    )
    page = out.read_text()
    assert printed == f"{page}Wrote {out}\n"
    lines = page.splitlines()
    for start in ("Command: `fusionln", "Date: ", "Hardware: ", "Versions: python "):
        assert sum(line.startswith(start) for line in lines) == 1
    rows = [cells(line) for line in lines if line.startswith("|")]
    assert [len(row) for row in rows] == [4] * 6  # head, rule, four tasks
    assert all(float(value) >= 0 for row in rows[2:] for value in row[1:])


def test_trials_of_a_study_are_timed_in_groups_from_first_to_last(tmp_path, make_cohort):
    times = bench_study(str(tmp_path / "study.journal"), make_cohort(20).root, trials=2 * GROUPS, sampler="random")
    assert [(each.first, each.last) for each in times] == [(2 * k, 2 * k + 1) for k in range(GROUPS)]
    assert all(each.milliseconds > 0 for each in times)


def test_the_page_of_a_study_has_a_row_per_sampler_and_no_password(tmp_path, monkeypatch):
    address = "postgresql://me:secret@host/db"
    monkeypatch.setattr("sys.argv", ["fusionln", "bench", "study", "--storage", address])
    out = tmp_path / "studies.md"
    fusionln("bench", "study", "--trials", 10, "--out", out)
    page = out.read_text()
    assert "postgresql://me:***@host/db" in page
    rows = [cells(line) for line in page.splitlines() if line.startswith("|")]
    assert [row[:2] for row in rows[2:]] == [["journal file", "random"], ["journal file", "tpe"]]
    assert rows[0][2:] == [f"trials {k}-{k}" for k in range(GROUPS)]
    assert all(re.fullmatch(r"\d+\.\d \(\d+\.\d\)", cell) for row in rows[2:] for cell in row[2:])


@pytest.mark.slow
def test_each_loop_and_its_ratio_to_ours_has_a_line():
    lines = fusionln(
        "bench", "fit", "--backbone", "test_resnet", "--image-size", 32, "--pictures", 16, "--rounds", 1
    ).splitlines()
    assert "test_resnet, 32 px, batch 16" in lines[-6]
    titles = ["fusion_ln", "bare PyTorch, in memory", "ImageFolder + DataLoader, float32"]
    for line, title in zip(lines[-5:], [*titles, *(f"fusion_ln / {title}" for title in titles[1:])], strict=True):
        assert line.strip().startswith(title)
