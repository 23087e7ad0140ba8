"""A cache of its own for every test, a tiny cohort, and pages without figures."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small lose time to a second thread

import numpy as np
import pytest
from tiny import CHROMIUM, PRELOADED, build_cohort, draw_few, leave_blank, shorten_pages, spare_waiting

from fusion_ln.cohort.cohort import Cohort

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_configure() -> None:
    """Give each of the processes that share the suite cores of its own: threads that wait for a core cost far more."""
    own, cores = os.environ.get("PYTEST_XDIST_WORKER"), sorted(os.sched_getaffinity(0))
    if own:
        share, number = len(cores) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]), int(own.removeprefix("gw"))
        os.sched_setaffinity(0, cores[number * share : (number + 1) * share] or cores)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that no process is left alone with one of them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from looking through torch and the like again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def cache_of_shared_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for fixtures that many tests share; and no waiting for what tests do not need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONLN_CACHE", str(tmp_path_factory.mktemp("cache")))
        spare_waiting(patch)
        if processes := sys.modules.get("fusion_ln.compute.processes"):
            processes.preload(PRELOADED)
            patch.setattr(processes.WORKERS, "set_forkserver_preload", lambda modules: None)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    """Build cohorts in the folder of the test: see `tiny.build_cohort`."""
    return partial(build_cohort, tmp_path)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of pages blank, and draw few bootstrap samples for their intervals."""
    leave_blank(monkeypatch)
    draw_few(monkeypatch)


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write reports of a few sections: see `tiny.shorten_pages`."""
    shorten_pages(monkeypatch)
