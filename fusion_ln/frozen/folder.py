"""The folder of a model: the place of each file, and the digest that names the whole."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fusion_ln.errors import ModelError
from fusion_ln.files.atomic import TEMPORARY
from fusion_ln.files.formats import parse, write_json
from fusion_ln.files.hashes import hash_file
from fusion_ln.files.locks import LOCK
from fusion_ln.files.names import as_file_name
from fusion_ln.frozen.record import FREEZE_AGAIN, ModelRecord, parse_model_record
from fusion_ln.terms import MODEL_RECORD

# What a checkout of a hub adds: no reader of a model opens them, so they lie outside the digest, too.
OF_HUBS = (".git", ".gitattributes", ".gitignore", "README.md", ".huggingface", ".cache")
LOG = "evaluations.json"  # in the folder, but outside the digest: it grows with each evaluation


@dataclass(frozen=True)
class ModelFolder:
    """A folder of one model."""

    root: Path

    @property
    def record(self) -> Path:
        return self.root / MODEL_RECORD

    @property
    def scores(self) -> Path:
        """Out-of-fold scores by subset of the modalities, fold and class; of no patient in particular."""
        return self.root / "scores.parquet"

    @property
    def pictures(self) -> Path:
        """Exact and perceptual hashes of the pictures that the model was trained on, by modality."""
        return self.root / "pictures.parquet"

    @property
    def hash_centres(self) -> Path:
        """Centres of the perceptual hashes, by modality."""
        return self.root / "hash_centres.safetensors"

    @property
    def moments(self) -> Path:
        """Moments of the features of training pictures, by model and modality."""
        return self.root / "moments.safetensors"

    @property
    def card(self) -> Path:
        """Card, in the layout of Hugging Face."""
        return self.root / "model_card.md"

    @property
    def facts(self) -> Path:
        """The same as a page."""
        return self.root / "facts.html"

    @property
    def report(self) -> Path:
        """Comparison of the study's run with the single modalities; a model of an earlier version has none."""
        return self.root / "report.html"

    @property
    def digest_file(self) -> Path:
        """SHA-256 of every other file, and of their list; written last."""
        return self.root / "digest.json"

    @property
    def weights(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "weights"

    def network(self, modality: str, fold: int) -> Path:
        """Return the checkpoint of a modality's network of a fold; see `ModelRecord.numbers`."""
        return self.weights / f"{as_file_name(modality)}-{fold}.safetensors"

    def head(self, fold: int) -> Path:
        """Return the checkpoint of a trained head of a fold, or of the whole model where it was fine-tuned."""
        return self.weights / f"~head-{fold}.safetensors"  # no modality's file begins so

    def read_record(self) -> ModelRecord:
        """Read ``model.json``.

        Raises:
            ModelError: If the folder is no model, or its ``model.json`` is damaged or of another format.
        """
        try:
            text = self.record.read_text(encoding="utf-8")
        except OSError:
            raise ModelError(
                f"{self.root}: holds no model.json, so it is not a model.", "Make one with `fusionln freeze RUN`."
            ) from None
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.record}: not valid JSON ({error}).", FREEZE_AGAIN) from None
        return parse_model_record(text, self.record)

    def read_page(self, path: Path) -> str:
        """Read the card or the facts.

        Raises:
            ModelError: If the file is missing or damaged.
        """
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: cannot be read as text ({error}).", FREEZE_AGAIN) from None

    def source(self, modality: str) -> Path:
        """Return the weights of a modality's network before fine-tuning, where a head reads its tokens."""
        return self.weights / f"~source-{as_file_name(modality)}.safetensors"

    def write_digest(self) -> str:
        """Hash every file of the folder and write the hashes; returns the digest of all."""
        files = self._hash_files()
        digest = _digest(files)
        write_json(self.digest_file, {"digest": digest, "files": files})
        return digest

    def check_digest(self) -> str:
        """Check that every file is as it was when the model was frozen; returns the digest.

        Raises:
            ModelError: Naming the first file that is changed, missing or not of the model.
        """
        held = self._read_digest()
        found = self._hash_files()
        for name in sorted(held | found):
            if held.get(name) != found.get(name):
                if name not in held:
                    raise ModelError(f"{self.root}: {name} was added since the model was frozen.", "Remove it.")
                state = "is missing" if name not in found else "was changed"
                raise ModelError(f"{self.root}: {name} {state} since the model was frozen.", FREEZE_AGAIN)
        return _digest(held)

    def list_files(self) -> list[str]:
        """List the files that make the model, by their paths in the folder: with the digest and, if any, the log.

        Raises:
            ModelError: If the digest is missing or damaged.
        """
        log = [LOG] if (self.root / LOG).is_file() else []
        return [*self._read_digest(), self.digest_file.name, *log]

    def _read_digest(self) -> dict[str, str]:
        try:
            held: object = parse(self.digest_file.read_text(encoding="utf-8"), json.loads)
        except FileNotFoundError:
            raise ModelError(f"{self.root}: holds no digest.json, so it is no whole model.", FREEZE_AGAIN) from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.digest_file}: cannot be read ({error}).", FREEZE_AGAIN) from None
        files = held.get("files") if isinstance(held, dict) else None
        if not isinstance(files, dict) or not isinstance(held, dict) or held.get("digest") != _digest(files):
            raise ModelError(f"{self.digest_file}: its digest does not fit its list of files.", FREEZE_AGAIN)
        return {str(name): str(value) for name, value in files.items()}

    def _hash_files(self) -> dict[str, str]:
        """Hash every file by its path in the folder, but the digest, the log, unfinished files, locks and a hub's."""
        names = sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        own = {self.digest_file.name, LOCK, LOG, *OF_HUBS}
        names = [name for name in names if name.split("/")[0] not in own and not name.endswith(TEMPORARY)]
        with ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(lambda name: hash_file(self.root / name), names), strict=True))


def _digest(files: dict[str, str]) -> str:
    listed = "".join(f"{value}  {name}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(listed.encode()).hexdigest()
