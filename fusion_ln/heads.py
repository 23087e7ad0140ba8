"""Names and titles of the fusion heads, read from their files in `fusion_ln.models` without importing them (no torch).

A head is one file: of ``models/late``, if it fuses the baselines' predictions, or of ``models/fusion``, if it learns
from their tokens. Its name is the file's, with hyphens. The file assigns ``TITLE``, ``HEAD`` (see ``base.py`` of the
folder) and, if wanted, ``ORDER``, its place in lists. Files without a title hold what heads share.
"""

import ast
from pathlib import Path

MODELS = Path(__file__).parent / "models"
LAST = 1000  # place of heads without an `ORDER`


def read_titles(folder: Path) -> dict[str, str]:
    """Read the titles of the heads in a folder, by name, in their order."""
    heads = []
    for file in folder.glob("*.py"):
        constants = _read_constants(file)
        if title := constants.get("TITLE"):
            heads.append((int(constants.get("ORDER", LAST)), file.stem.replace("_", "-"), str(title)))
    return {name: title for _, name, title in sorted(heads)}


def _read_constants(file: Path) -> dict[str, str | int]:
    """Read the texts and whole numbers that a module assigns to names."""
    constants: dict[str, str | int] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            value = node.value.value
            if isinstance(value, str | int):
                constants |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
    return constants


LATE_HEADS = read_titles(MODELS / "late")
TRAINED_HEADS = read_titles(MODELS / "fusion")


def head_title(name: str) -> str:
    """Look up the title of a head; its name, if there is no such head."""
    return (LATE_HEADS | TRAINED_HEADS).get(name, name)
