"""The shipped configurations of proxies, in the real Caddy and nginx in front of a server."""

import os
import re
import shutil
import socket
import subprocess
import warnings
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter
from tiny import encode_noise
from urllib3.util import Retry

DEPLOY = Path(__file__).parents[2] / "experiments" / "deploy"
KEY = {"Authorization": "Bearer let-me-in"}


@pytest.fixture(scope="module")
def behind(model, starter, tmp_path_factory):
    """A server that stands behind TLS; its port."""
    log = tmp_path_factory.mktemp("behind") / "log"
    with starter(model, log, token="let-me-in", behind_tls="true", megabytes=2) as address:
        yield int(address.rpartition(":")[2])


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def caddy(folder, upstream):
    """Start Caddy with its own certificate; returns the process and its port."""
    port = free_port()
    environment = os.environ | {
        "FUSIONLN_NAME": f"localhost:{port}",
        "FUSIONLN_UPSTREAM": f"127.0.0.1:{upstream}",
        "FUSIONLN_TLS": "tls internal",
        "FUSIONLN_GLOBAL": f"admin off\nskip_install_trust\nauto_https disable_redirects\nstorage file_system {folder}",
        "HOME": str(folder),
    }
    command = ["caddy", "run", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(command, env=environment, stderr=log), port


def nginx(folder, upstream):
    """Start nginx with a certificate made for the purpose; returns the process and its port."""
    port, plain = free_port(), free_port()
    subject = ["-subj", "/CN=localhost", "-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject],
        check=True,
        capture_output=True,
    )
    site = (DEPLOY / "nginx.conf").read_text()
    for old, new in (
        ("/etc/ssl/nodes.pem", str(folder / "pem")),
        ("/etc/ssl/nodes.key", str(folder / "key")),
        ("listen 443", f"listen {port}"),
        ("listen 80", f"listen {plain}"),
        ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
        ("nodes.hospital.example", "localhost"),
    ):
        assert old in site
        site = site.replace(old, new)
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in names)
    head = f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}} http {{ access_log off; {places}"
    (folder / "nginx.conf").write_text(f"{head}\n{site}\n}}\n")
    return subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]), port


def needed(start):
    """Run a test where the proxy, and openssl for its certificate, are installed."""
    there = shutil.which(start.__name__) and shutil.which("openssl")
    return pytest.param(start, id=start.__name__, marks=pytest.mark.skipif(not there, reason="no such proxy here"))


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [needed(caddy), needed(nginx)])
def test_a_server_behind_the_real_proxy(proxy, behind, tmp_path):
    process, port = proxy(tmp_path, behind)
    session = requests.Session()
    session.verify, session.trust_env = False, False  # variables may name other certificates
    address = f"https://localhost:{port}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the certificate, which nobody knows
            session.mount("https://", HTTPAdapter(max_retries=Retry(total=12, backoff_factor=0.1)))  # until it listens
            assert session.get(f"{address}/healthz", timeout=60).status_code == 200
            check(session, address)
    finally:
        process.terminate()
        process.wait(30)


def check(session, address):
    """Ask through a proxy as browsers and programs do."""
    files = {"2d": encode_noise()}
    answer = session.post(f"{address}/api/v1/predict", files=files, headers=KEY, timeout=60)
    assert answer.status_code == 200
    assert int(re.search(r"max-age=(\d+)", answer.headers["Strict-Transport-Security"])[1]) >= 31_536_000
    assert session.post(f"{address}/api/v1/predict", files=files, timeout=60).status_code == 401
    large = session.post(f"{address}/api/v1/predict", files={"2d": bytes(3_000_000)}, headers=KEY, timeout=60)
    assert large.status_code == 413
    assert session.get(f"{address}/metrics", headers=KEY, timeout=60).status_code == 404
    for origin, status in ((address, 200), ("https://elsewhere.example", 403)):
        headers = KEY | {"Origin": origin}
        answer = session.post(f"{address}/api/v1/predict", files=files, headers=headers, timeout=60)
        assert answer.status_code == status
