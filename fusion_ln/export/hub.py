"""A model's folder as a model hub expects it: the card is its README.md, large files are marked for Git LFS."""

import shutil
from pathlib import Path

from fusion_ln.files.folders import new_folder
from fusion_ln.files.formats import write_text
from fusion_ln.frozen.folder import ModelFolder

ATTRIBUTES = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("safetensors", "parquet"))
USE = """
## Use

With the Python package `fusion_ln`, where DIR is this folder:

```
fusionln verify DIR
fusionln predict DIR --picture MODALITY=FILE
```

`facts.html` says the same as this card, as a page; `report.html`, if there is one, sets the run of its study
beside single modalities; `digest.json` holds the hash of every file.
"""


def export_hub(root: Path, out: Path) -> str:
    """Copy a model to a folder that is ready to upload; every command takes it in place of the model.

    Args:
        root: A model's folder.
        out: The new folder.

    Returns:
        The digest of the model.

    Raises:
        ModelError: If ``root`` is no model, or was changed since it was frozen.
        RunError: If ``out`` holds something or cannot be written.
    """
    folder = ModelFolder(root)
    folder.read_record()
    digest = folder.check_digest()
    with new_folder(out) as made:
        for name in folder.list_files():
            (made / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(root / name, made / name)
        write_text(made / "README.md", folder.read_page(folder.card).rstrip() + "\n" + USE)
        write_text(made / ".gitattributes", ATTRIBUTES)
    return digest
