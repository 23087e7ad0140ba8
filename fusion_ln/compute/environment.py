"""Environment of a fit: working folder, cache folder and files that a process on another machine must see."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fusion_ln.errors import RunError
from fusion_ln.files.hashes import hash_file

CACHE = "FUSIONLN_CACHE"


@dataclass(frozen=True)
class Environment:
    """Working folder, cache folder if the user named one, and required files with their hashes."""

    folder: Path
    cache: str | None
    files: dict[Path, str]

    @classmethod
    def capture(cls, files: Iterable[Path]) -> Self:
        """Capture this process's environment, with these files."""
        return cls(Path.cwd(), os.environ.get(CACHE), {file: hash_file(file) for file in files})

    def apply(self) -> None:
        """Change to the working folder and set the cache folder, unless this machine names one of its own.

        Raises:
            RunError: If this machine does not see the same files under the same paths.
        """
        if self.cache is not None:
            os.environ.setdefault(CACHE, self.cache)
        if self.folder.is_dir():
            os.chdir(self.folder)
        for file, expected in self.files.items():
            path = self.folder / file
            if not path.is_file() or hash_file(path) != expected:
                found = "holds another file than on the machine of the command" if path.is_file() else "is not there"
                raise RunError(
                    f"Machine {platform.node()}: {path} {found}.",
                    "The working folder, the cohort and the run folder must lie on storage that every machine sees "
                    "under the same path: start the command there, or give such folders (`--cohort`, `--out`).",
                )
