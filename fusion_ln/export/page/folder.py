"""The folder of a page that predicts in the browser: the application, the model's parts, facts and examples."""

import base64
import hashlib
import io
import json
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from matplotlib import colormaps
from matplotlib.colors import to_hex

from fusion_ln.cohort.phantom.examples import draw_examples
from fusion_ln.errors import ModelError, RunError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.explain.methods import METHODS
from fusion_ln.export.page.bundle import INDEX, INSTALL, OFFLINE, PAGE, STATIC, lack_of_page
from fusion_ln.export.page.parts import PageParts, split_model
from fusion_ln.export.source import ARCHIVE, pack_source, source_link, source_links
from fusion_ln.files.atomic import write_bytes
from fusion_ln.frozen.describe import WARNING_CODES, describe_cohort, describe_model, map_tests_of, warnings_of
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import FrozenModel

BUNDLE = STATIC / PAGE
MOST_BYTES = 40_000_000  # of a model's weights, which every visitor fetches
FACTS, HEADERS = "model.json", "_headers"
FILES = "files"  # key of the facts: all files of the page, which the next one replaces
NONCE = "__NONCE__"
NOT_CHECKED = "This page does not check whether a picture is one that the model was trained on."
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'nonce-{nonce}'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; object-src 'none'"
)
# In the form that Netlify and Cloudflare Pages read; the page itself bears all of it but `frame-ancestors`.
HOST_HEADERS = """\
/
  Content-Security-Policy: {policy}; frame-ancestors 'none'
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
/index.html
  Content-Security-Policy: {policy}; frame-ancestors 'none'
/offline.js
  Content-Security-Policy: {policy}
  Cache-Control: no-cache
/assets/*
  Content-Security-Policy: {policy}
  Cache-Control: public, max-age=31536000, immutable
/model-*
  Cache-Control: public, max-age=31536000, immutable
"""


def write_page(model: FrozenModel, out: Path) -> int:
    """Write the page of a model.

    Args:
        model: The model.
        out: A folder that is missing, empty, or holds an earlier page, which is replaced.

    Returns:
        Bytes of the folder's files.

    Raises:
        ModelError: If the model is too large for a page, or see `split_model`.
        RunError: If the application was not built with the package, or ``out`` holds something else or cannot be
            written.
    """
    if lack := lack_of_page(BUNDLE.parent):
        raise RunError(lack, INSTALL)
    earlier = _list_earlier(out)
    _refuse_large(model)
    parts = split_model(model)
    if parts.size > MOST_BYTES:  # what follows the last stage stands in the gradients, too
        parts = replace(parts, gradients=None)
    made = _make_files(model, parts)
    for path in earlier:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # other files lie there, too
            path.parent.rmdir()
    for name, data in made.items():
        write_bytes(out / name, data)
    return sum(len(data) for data in made.values())


def _list_earlier(out: Path) -> list[Path]:
    """List the files of an earlier page in a folder, as that page names them; refuses any other folder with files."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: a file, not a folder.", "Choose another folder with `--page DIR`.")
    if not out.is_dir() or not any(out.iterdir()):
        return []
    held: object = None
    with suppress(OSError, ValueError):
        held = json.loads((out / FACTS).read_text(encoding="utf-8"))
    names = held.get(FILES) if isinstance(held, dict) else None
    if not isinstance(names, list):
        raise RunError(f"{out}: not empty and no page of a model.", "Choose another folder with `--page DIR`.")
    paths = [out / str(name) for name in names]
    return [path for path in paths if path.is_file() and path.resolve().is_relative_to(out.resolve())]


def _make_files(model: FrozenModel, parts: PageParts) -> dict[str, bytes]:
    """Make a page's files by place; first the one that names all of them, last the one without which it is no page."""
    folder = f"model-{_hash(parts)[:12]}"  # a browser may keep it for ever
    policy = POLICY.format(nonce=(nonce := secrets.token_urlsafe(16)))
    examples, pictures = _draw_examples(model.modalities)
    pages = _read_pages(model)
    files = {f"{folder}/{name}.onnx": data for name, data in parts.files.items()}
    bundle = [path for path in sorted(BUNDLE.rglob("*")) if path.is_file() and path.name not in {INDEX, OFFLINE}]
    files |= {path.relative_to(BUNDLE).as_posix(): path.read_bytes() for path in bundle}
    files |= pictures | pages
    files[ARCHIVE] = pack_source()
    files[HEADERS] = HOST_HEADERS.format(policy=policy).encode()
    page = (BUNDLE / INDEX).read_text(encoding="utf-8").replace(NONCE, nonce).replace("__POLICY__", policy)
    described = _describe(model, parts, folder, pages)
    described |= {"examples": examples, FILES: [FACTS, *files, OFFLINE, INDEX]}
    files = {FACTS: json.dumps(described).encode(), **files}
    return {**files, OFFLINE: _make_offline(files, page), INDEX: page.encode()}


def _read_pages(model: FrozenModel) -> dict[str, bytes]:
    """Read the pages that left the study with a model: facts and comparison report; a run's report shows patients."""
    folder = ModelFolder(model.root)
    pages = (folder.facts, folder.report) if model.digest else ()
    return {page.name: page.read_bytes() for page in pages if page.is_file()}


def _make_offline(files: Mapping[str, bytes], page: str) -> bytes:
    """Make the service worker that keeps a page's files in the browser, each checked by its digest."""
    kept = {"": page.encode()} | {name: data for name, data in files.items() if name != HEADERS}  # hosts keep that one
    digests = {
        name: f"sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}" for name, data in kept.items()
    }
    listed = json.dumps(digests)
    edition = hashlib.sha256(listed.encode()).hexdigest()
    script = (BUNDLE / OFFLINE).read_text(encoding="utf-8")
    return script.replace("__KEPT__", listed).replace("__EDITION__", json.dumps(edition)).encode()


def _refuse_large(model: FrozenModel) -> None:
    """Refuse a model whose weights are too large, before anything is written."""
    size = 2 * sum(weights.numel() for one in model.models for weights in one.parameters())
    if size <= MOST_BYTES:
        return
    ways = "Train smaller networks, as in `--backbone mobilenetv4_conv_small`"
    if model.record.answer == "ensemble" and size <= MOST_BYTES * len(model.models):
        ways = "Freeze one model in place of the folds' (`fusionln freeze RUN --out DIR --as refit`)"
    raise ModelError(
        f"{model.root}: its networks take {size / 1e6:.0f} MB in half precision; a page's may take "
        f"{MOST_BYTES / 1e6:.0f} MB, since every visitor fetches them.",
        f"{ways}, or serve the model (`fusionln serve MODEL`).",
    )


def _hash(parts: PageParts) -> str:
    digest = hashlib.sha256()
    for data in parts.files.values():
        digest.update(data)
    return digest.hexdigest()


def _describe(model: FrozenModel, parts: PageParts, folder: str, pages: Collection[str]) -> dict[str, object]:
    """Describe what the page must know: what the server's interface answers, and how to run the parts."""
    method, tests = "gradcam" if parts.gradients else "occlusion", map_tests_of(model)
    warnings = [*warnings_of(model), NOT_CHECKED]
    served = {
        **describe_model(model),
        "methods": [
            {"name": method, "title": METHODS[method].title, "trusted": bool(tests and tests.trusted == method)}
        ],
        "keeps_uploads": False,
        "has_report": ModelFolder(model.root).report.name in pages,
        "has_facts": ModelFolder(model.root).facts.name in pages,
        "warnings": warnings,
        "warning_codes": [WARNING_CODES.get(text) for text in warnings],
    }
    inferno = colormaps["inferno"]
    return {
        "model": served,
        "cohort": {**describe_cohort(model), "code": [*source_links(), source_link(ARCHIVE)]},
        "sides": dict(model.record.modalities),
        "folder": folder,
        "folds": len(model.models),
        "bytes": parts.size,
        "shapes": dict(parts.shapes),
        "farthest": model.known.threshold if model.known else None,
        "miss_rate": MISS_RATE,
        "colours": [to_hex(inferno(0.15 + 0.85 * level / 255)) for level in range(256)],  # as on the server
    }


def _draw_examples(modalities: list[str]) -> tuple[list[dict[str, object]], dict[str, bytes]]:
    """Draw simulated patients, to try the page with, and their files; none for a model without a modality of theirs."""
    listed: list[dict[str, object]] = []
    files: dict[str, bytes] = {}
    for number, example in enumerate(draw_examples()):
        held = {m: f"examples/{number}-{m}.png" for m in example.pictures if m in modalities}
        for modality, name in held.items():
            example.pictures[modality].save(buffer := io.BytesIO(), "PNG")
            files[name] = buffer.getvalue()
        if held:
            listed.append({"name": f"{example.label}-{number}", "class": example.label, "pictures": held})
    return listed, files
