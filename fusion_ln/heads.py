"""Names and titles of the fusion heads, read from their files in `fusion_ln.models` without importing them (no torch).

A head is one file: of ``models/late``, if it fuses the baselines' predictions, or of ``models/fusion``, if it learns
from their tokens. Its name is the file's, with hyphens. The file assigns ``TITLE``, ``HEAD`` (see ``base.py`` of the
folder) and, if wanted, ``ORDER``, its place in lists, and ``ON_REQUEST``: a late head that is computed only where it is
named. Files without a title hold what heads share.
"""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

MODELS = Path(__file__).parent / "models"
SHARED_MODULES = ("base.py", "layers.py")  # of trained heads
LAST = 1000  # place of heads without an `ORDER`


def read_titles(folder: Path) -> dict[str, str]:
    """Read the titles of the heads in a folder, by name, in their order."""
    heads = []
    for file in folder.glob("*.py"):
        constants = _read_constants(file)
        if title := constants.get("TITLE"):
            heads.append((int(constants.get("ORDER", LAST)), file.stem.replace("_", "-"), str(title)))
    return {name: title for _, name, title in sorted(heads)}


@cache
def _read_constants(file: Path) -> Mapping[str, str | int]:
    """Read the texts and whole numbers that a module assigns to names."""
    constants: dict[str, str | int] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            value = node.value.value
            if isinstance(value, str | int):
                constants |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
    return constants


def read_unasked(folder: Path) -> tuple[str, ...]:
    """Read the names of the heads in a folder that are computed whether or not they are named, in their order."""
    files = {name: folder / f"{name.replace('-', '_')}.py" for name in read_titles(folder)}
    return tuple(name for name, file in files.items() if not _read_constants(file).get("ON_REQUEST"))


LATE_HEADS = read_titles(MODELS / "late")
UNASKED_HEADS = read_unasked(MODELS / "late")
TRAINED_HEADS = read_titles(MODELS / "fusion")
BEST, BEST_OF = "best", ("concat", "cross-attention")  # in place of a head: the better of these by inner validation


def read_fields(folder: Path, name: str) -> frozenset[str]:
    """Read the names of the settings that a trained head is built from, as ``settings.NAME``, its layers' too."""
    module, *shared = [
        ast.parse((folder / file).read_text(encoding="utf-8")) for file in (f"{name}.py", *SHARED_MODULES)
    ]
    layers = {node.name: node for tree in shared for node in tree.body if isinstance(node, ast.ClassDef)}
    return frozenset(_fields(module, layers) | _fields(layers["FusionHead"], layers))


def _fields(tree: ast.AST, layers: Mapping[str, ast.AST]) -> set[str]:
    """Find the settings that some code reads itself or through the layers it names."""
    fields: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings":
            fields.add(node.attr)
        elif isinstance(node, ast.Name) and node.id in layers and layers[node.id] is not tree:
            fields |= _fields(layers[node.id], layers)
    return fields


@cache
def fields_of(head: str) -> frozenset[str]:
    """Return the settings that a trained head is built from."""
    return read_fields(MODELS / "fusion", head.replace("-", "_"))


def heads_reading(field: str) -> list[str]:
    """List the trained heads that are built from a setting; none, if it is no setting of their layers."""
    return [head for head in TRAINED_HEADS if field in fields_of(head)]


def takes(head: str, field: str) -> bool:
    """Check if a setting means something to a trained head: those of layers that only other heads have do not."""
    return head not in TRAINED_HEADS or field in fields_of(head) or not heads_reading(field)


def head_title(name: str) -> str:
    """Look up the title of a head; its name, if there is no such head."""
    return (LATE_HEADS | TRAINED_HEADS).get(name, name)
