"""The application for browsers as it was built with the package: the server's and, in `page/`, the exported page's."""

from importlib.resources import files
from pathlib import Path

STATIC = Path(str(files("fusion_ln"))) / "serve/static"
INDEX, OFFLINE = "index.html", "offline.js"
PAGE = "page"
OUTDATED = "outdated"  # file that the build leaves in a bundle of other sources; see serve/web/build_page.py
INSTALL = "Install fusion_ln again where npm's registry can be reached, or take a wheel, which carries the page."


def lack_of_page(static: Path) -> str:
    """Say why a folder does not hold the application of this version; nothing if it does."""
    if not (static / INDEX).is_file():
        return "The page was not built when fusion_ln was installed, since npm's registry was out of reach."
    if (static / OUTDATED).is_file() or not all((static / PAGE / name).is_file() for name in (INDEX, OFFLINE)):
        return "The page is that of an earlier version: npm's registry was out of reach when this one was installed."
    return ""
