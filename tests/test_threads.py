import os
import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fusion_ln.threads import cores, map_with_progress, one_blas_thread


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000"}, 4),
        ("4:memory:/\n3:cpu,cpuacct:/docker/x\n0::/\n", {"cpu,cpuacct/docker/x": (250000, 100000)}, 2),
        ("3:cpu,cpuacct:/of/the/host\n", {"cpu,cpuacct": (600000, 100000)}, 6),
        ("1:cpu:/\n", {"cpu": (-1, 100000)}, 8),
        ("1:cpu:/\n", {"cpu": (1600000, 100000)}, 8),
        ("1:cpuset:/\n", {"cpuset": (100000, 100000)}, 8),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
        ("0::/\n", {}, 8),
        (None, {}, 8),
    ],
)
def test_cores_are_those_of_the_process_or_of_its_containers_quota(tmp_path, monkeypatch, group, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    if group is not None:
        write(tmp_path / "proc/self/cgroup", group)
    for name, limit in files.items():
        place = tmp_path / "sys/fs/cgroup" / name
        if isinstance(limit, str):
            write(place, limit + "\n")
        else:
            write(place / "cpu.cfs_quota_us", f"{limit[0]}\n")
            write(place / "cpu.cfs_period_us", f"{limit[1]}\n")
    assert cores(tmp_path) == expected


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_results_come_in_order_and_only_a_few_are_held_at_once():
    held, most, lock = 0, 0, threading.Lock()

    def work(number):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return number * number

    for number, result in enumerate(map_with_progress("Squares", work, range(500))):
        assert result == number * number
        with lock:
            held -= 1
    assert most < 100


def test_linear_algebra_of_small_problems_gets_one_thread_and_then_its_own_again():
    def threads():
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {2}
