"""A tiny model, a server of it in a process of its own, and the same site within the tests' process."""

import asyncio
import importlib.util
import re
from contextlib import contextmanager

import pytest
from tiny import CPU, FIT, build_cohort, fusionln, shortened, started

if importlib.util.find_spec("django") is None:  # the extra `web` is not installed
    collect_ignore_glob = ["*"]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A frozen mean of two modalities."""
    from fusion_ln.training.run import run_baselines_and_fusions

    folder = tmp_path_factory.mktemp("study")
    cohort = build_cohort(folder, 24)
    runs = run_baselines_and_fusions(
        cohort, ["2d", "cdfi"], {"late-mean": None}, FIT, folder / "runs", protocol="nested", seed=0, device=CPU
    )
    with shortened():
        fusionln("freeze", runs[-1].root, "--out", folder / "model", "--licence", "CC-BY-4.0")
    return folder / "model"


SERVE = """
import os, sys
os.dup2(os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT), 2)
from fusion_ln.cli.main import cli
cli()
"""


@contextmanager
def start(model, log, **variables):
    """Start a server on a free port, which ends as a system ends it; yields its address."""
    named = {f"FUSIONLN_SERVE_{key.upper()}": str(value) for key, value in variables.items()}
    (log.parent / "tmp").mkdir()
    log.touch()
    with started(SERVE, log, "serve", model, "--port", 0, TMPDIR=str(log.parent / "tmp"), **named) as (process, _):
        while not (found := re.search(r"http://[^/]+", log.read_text())):
            process.join(0.1)  # the server needs the core more than this loop
            assert process.is_alive(), log.read_text()
        yield found[0]
        process.terminate()
        process.join(30)
        assert process.exitcode == 0


@pytest.fixture(scope="session")
def starter():
    """Start further servers: see `start`."""
    return start


@pytest.fixture(scope="session")
def server(model, tmp_path_factory):
    """A server: its address, and the folder of its log and its temporary files."""
    folder = tmp_path_factory.mktemp("server")
    with start(model, folder / "log", megabytes=2) as address:
        yield address, folder


class Site:
    """The site within this process, asked without a socket."""

    def __init__(self, config) -> None:
        from django.test import AsyncClient

        self.config, self._runner, self._client = config, asyncio.Runner(), AsyncClient(enforce_csrf_checks=True)

    def get(self, path, **headers):
        return self._runner.run(self._client.get(path, headers=headers))

    def post(self, path, files=(), fields=None, **headers):
        """Send form data: bytes by name, or pairs of them, and further fields."""
        from django.core.files.uploadedfile import SimpleUploadedFile

        data = dict(fields or {})
        for name, content in files.items() if isinstance(files, dict) else files:
            data.setdefault(name, []).append(SimpleUploadedFile("picture", content))
        return self._runner.run(self._client.post(path, data, headers=headers))

    def post_json(self, path, value, **headers):
        return self._runner.run(self._client.post(path, value, content_type="application/json", headers=headers))

    @property
    def cookies(self):
        return self._client.cookies

    def close(self):
        self._runner.close()


@pytest.fixture(scope="session")
def config(model):
    """The application of this process: one for all tests of a file, as Django is set up once."""
    from fusion_ln.predict.predictor import load_predictor
    from fusion_ln.serve.options import ServeOptions
    from fusion_ln.serve.server import open_site

    config = open_site(load_predictor(model), ServeOptions(names="testserver", megabytes=2, per_minute=1_000_000))
    yield config
    config.room.close()
    config.decoder.close()


@pytest.fixture
def site(config):
    """A browser of its own at the site."""
    site = Site(config)
    yield site
    site.close()


@pytest.fixture
def locked_site(config, monkeypatch):
    """The same, behind a token."""
    monkeypatch.setattr(config, "options", config.options.model_copy(update={"token": "let-me-in"}))
    site = Site(config)
    yield site
    site.close()
