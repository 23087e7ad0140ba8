"""Measurements on as little as it takes: their pages and records, not their figures."""

import json

import pytest
from tiny import fusionln, refused

from fusion_ln.bench.matrices import count_operations
from fusion_ln.bench.record import Figure, SpeedRecord, in_words, measure, speed_page
from fusion_ln.bench.studies import GROUPS, bench_study


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(page):
    return [cells(line) for line in page.splitlines() if line.startswith("|")]


def figure(task="a task", seconds=0.3, floor_seconds=0.2):
    return Figure(benchmark="fit", task=task, seconds=seconds, floor="a bare loop", floor_seconds=floor_seconds)


def test_a_record_is_read_back_and_stands_beside_the_next_one(tmp_path):
    out = tmp_path / "speed.json"
    list(speed_page([figure(), figure("gone")], against=None, out=out))
    held = json.loads(out.read_text())
    assert set(held) == {"format", "command", "date", "load", "hardware", "versions", "figures"}
    assert SpeedRecord.read(out).figures == (figure(), figure("gone"))
    page = "\n".join(speed_page([figure(seconds=0.36), figure("new")], against=out, out=None))
    slower, new = rows(page)[2:]
    assert slower[2:] == ["360 ms", "a bare loop", "200 ms", "1.80", "1.50", "+20 %, slower"]
    assert new[-2:] == ["not measured", ""]


def test_page_and_record_tell_the_load_before_the_measurement(tmp_path, monkeypatch):
    now = [0.3]

    def figures():
        now[0] = 1.8
        yield figure()

    monkeypatch.setattr("os.getloadavg", lambda: (now[0], 0.0, 0.0))
    page = "\n".join(speed_page(figures(), against=None, out=tmp_path / "speed.json"))
    assert "load of the machine at the start: 0.3\n" in page
    assert json.loads((tmp_path / "speed.json").read_text())["load"] == 0.3


def test_a_file_that_is_no_record_is_refused(tmp_path):
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert "holds no figures of `fusionln bench`" in refused("bench", "start", "--against", other)


def test_work_and_floor_take_turns():
    called = []
    found = measure("fit", "a task", lambda: called.append("ours"), "a floor", lambda: called.append("floor"), rounds=2)
    assert called == ["ours", "floor"] * 2
    assert found.ratio == found.seconds / found.floor_seconds


def test_times_have_three_digits_and_a_unit():
    assert [in_words(value) for value in (12.345, 0.5, 2e-5, 3e-9)] == ["12.3 s", "500 ms", "20 µs", "3 ns"]


def test_operations_of_a_matrix_product_are_counted():
    import torch

    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count_operations(lambda: a @ b) == 2 * 3 * 5 * 7
    kernels = torch.ones(4, 2, 3, 3)
    with torch.inference_mode():
        convolved = count_operations(lambda: torch.nn.functional.conv2d(torch.ones(1, 2, 8, 8), kernels))
    assert convolved == 2 * (4 * 6 * 6) * (2 * 3 * 3)
    a.requires_grad_()  # its gradient is another product, of 3 x 7 and 7 x 5
    assert count_operations(lambda: torch.autograd.grad((a @ b).sum(), a)) == 2 * (2 * 3 * 5 * 7)


def test_comparisons_are_printed_as_the_page_that_is_written(tmp_path):
    out = tmp_path / "compare.md"
    printed = fusionln(
        "bench", "compare", "--models", 2, "--patients", 60, "--resamples", 100, "--many", 90, "--out", out
    )
    page = out.read_text()
    assert printed == f"{page}Wrote {out}\n"
    for start in ("Command: `fusionln", "Date: ", "Hardware: ", "Versions: python "):
        assert sum(line.startswith(start) for line in page.splitlines()) == 1
    assert [len(row) for row in rows(page)] == [6] * 5  # head, rule, three tasks
    assert all(row[0] == "compare" and float(row[-1]) > 0 for row in rows(page)[2:])


def test_trials_of_a_study_are_timed_in_groups_from_first_to_last(tmp_path, make_cohort):
    times = bench_study(str(tmp_path / "study.journal"), make_cohort(20).root, trials=2 * GROUPS, sampler="random")
    assert [(each.first, each.last) for each in times] == [(2 * k, 2 * k + 1) for k in range(GROUPS)]
    assert all(each.milliseconds > 0 for each in times)


def test_a_study_has_its_first_and_last_trials_per_sampler_and_no_password(tmp_path, monkeypatch):
    address = "postgresql://me:secret@host/db"
    monkeypatch.setattr("sys.argv", ["fusionln", "bench", "study", "--storage", address])
    out = tmp_path / "studies.md"
    fusionln("bench", "study", "--trials", 10, "--out", out)
    page = out.read_text()
    assert "postgresql://me:***@host/db" in page
    ends = [f"trial that computes nothing, journal file, {s}, {k} to {k}" for s in ("random", "tpe") for k in (0, 9)]
    assert [row[1] for row in rows(page)[2:]] == ends


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "n"),
    [
        ("fit --backbone test_resnet --image-size 32 --pictures 16 --rounds 1", 3),
        ("tokens --backbone test_resnet --image-size 32 --pictures 4", 1),
        ("head --patients 60 --epochs 1", 1),
        ("import --patients 30", 1),
    ],
)
def test_every_benchmark_has_a_floor_for_each_figure(command, n):
    found = rows(fusionln("bench", *command.split()))[2:]
    assert len(found) == n
    assert all(row[0] == command.split()[0] and float(row[-1]) > 0 for row in found)
