"""A real PostgreSQL server for the tests of studies, where one is installed."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for toy_study, which worker processes import, too


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """Folder of a running server's socket. The server refuses root, so root starts it as the user that Debian makes."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = [shutil.which("pg_ctl"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)]
    if not (pg_ctl := next(filter(None, found), None)):
        pytest.skip("no PostgreSQL server is installed (pg_ctl)")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # a socket's path must be short
        as_owner = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            as_owner = ["runuser", "-u", "postgres", "--"]
        control = [*as_owner, str(pg_ctl), "--pgdata", f"{folder}/data", "--silent"]
        only_here = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        subprocess.run([*control, "initdb", "-o", "-U postgres -A trust -E UTF8 -N"], check=True, cwd=folder)
        subprocess.run([*control, "-w", "-l", f"{folder}/log", "-o", only_here, "start"], check=True, cwd=folder)
        try:
            yield Path(folder)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd=folder)


@pytest.fixture(params=["journal", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty storage of either kind."""
    if request.param == "journal":
        return str(tmp_path / "study.journal")
    return new_database(request.getfixturevalue("postgres"))


def new_database(server: Path) -> str:
    """URL of a new database."""
    import psycopg

    name = f"study_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(f"host={server} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://postgres@/{name}?host={server}"
