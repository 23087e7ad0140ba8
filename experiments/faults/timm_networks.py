"""Networks of timm that can be trained, fused by a trained head, and explained by Grad-CAM.

Command: python experiments/faults/timm_networks.py   (again, it goes on; a new timm adds its modules)
Expect: one row per module of timm in benchmarks/timm_networks.csv and .md, for the smallest network of the module at
the first size it takes. The answers are those of the commands themselves, before anything is prepared; small networks
are also trained for a step. Weights are random, so nothing is downloaded. Some 5 minutes on one core.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import timm
import torch

from fusion_ln.bench.page import describe_origin
from fusion_ln.errors import FusionLNError
from fusion_ln.explain.network import Explained
from fusion_ln.files.formats import write_json, write_text
from fusion_ln.models.classifier import build_classifier
from fusion_ln.models.rehearsal import TRIED_SIZES, check_network, check_tokens, rehearse, sizes_of
from fusion_ln.models.triplet import Single, TripletModel
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import cache_folder

TABLE = Path(__file__).parents[1] / "benchmarks" / "timm_networks.csv"
PAGE = TABLE.with_suffix(".md")
FIRST = 96  # pixels, the size of the fast preset
TRAINED = 30_000_000  # parameters of the networks that are trained for a step, at most
YES = "yes"


def count_parameters(module: str) -> dict[str, int]:
    """Count the parameters of all networks of a module; kept in the cache folder."""
    file = cache_folder() / "timm_parameters.json"
    held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    names = timm.list_models(module=module)
    for name in names:
        if name not in held:
            with torch.device("meta"):
                held[name] = sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())
    write_json(file, held)
    return {name: held[name] for name in names}


def answer(check: Callable[[], object]) -> str:
    """Return `yes`, or the sentence with which a command refuses."""
    try:
        check()
    except FusionLNError as error:
        return error.problem
    return YES


def train_step(fit: FitSettings) -> None:
    """Train one step on two random pictures."""
    model = build_classifier(fit, 3)
    model(torch.rand(2, 3, fit.image_size, fit.image_size)).square().sum().backward()


def grad_cam_of(fit: FitSettings) -> None:
    """Look for the layer that Grad-CAM reads, as `fusionln explain` does."""
    with torch.device("meta"):
        model = TripletModel({"2d": build_classifier(fit, 3)}, Single(), {"2d": fit.image_size})
        Explained(model).planes("2d")


def try_module(module: str) -> dict[str, object]:
    """Try the smallest network of a module, at 96 pixels or another size that it takes."""
    counts = count_parameters(module)
    name = min(counts, key=lambda network: counts[network])
    refused = answer(lambda: check_network(name, FIRST))
    sizes = [FIRST] if refused == YES else sizes_of(name)
    size = min(sizes, key=lambda each: abs(each - FIRST), default=FIRST)
    given = answers(name, size)
    if given["baseline"] == YES and counts[name] <= TRAINED and size <= TRIED_SIZES[-3]:
        train_step(FitSettings(backbone=name, image_size=size))
    rehearse.cache_clear()
    row = {"module": module, "network": name, "parameters": counts[name], "size": size}
    return row | given | {"note": "" if refused == YES else refused}


def answers(name: str, size: int) -> dict[str, str]:
    """Ask the commands if a network can be a baseline, give tokens, and be explained by Grad-CAM."""
    fit = FitSettings(backbone=name, image_size=size)
    return {
        "baseline": answer(lambda: check_network(name, size)),
        "tokens": answer(lambda: check_tokens({"2d": fit}, HeadSettings())),
        "grad_cam": answer(lambda: grad_cam_of(fit)).removeprefix("2d: "),
    }


def write_page(table: pd.DataFrame) -> None:
    """Write the table as a page."""
    yes = {column: int((table[column] == YES).sum()) for column in ("baseline", "tokens", "grad_cam")}
    head = f"""# Which of timm's networks can be used

{describe_origin("timm", "torch")}

The smallest network of each of timm's {len(table)} modules, at {FIRST} pixels or, where it does not take them, at the
nearest size that it takes. A baseline can be trained of {yes["baseline"]}, tokens for trained heads are had from
{yes["tokens"]}, and Grad-CAM works with {yes["grad_cam"]}. Where the table says no, it says so in the sentence with
which the command refuses. It also lies in `timm_networks.csv`, which the tests compare with the installed timm.

| module | network | M parameters | pixels | baseline | tokens | Grad-CAM | at {FIRST} pixels |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
    rows = (
        f"| {row.module} | {row.network} | {millions:.1f} | {row.size} | {row.baseline} | {row.tokens} | "
        f"{row.grad_cam} | {row.note} |\n"
        for row, millions in zip(table.itertuples(), table["parameters"] / 1e6, strict=True)
    )
    write_text(PAGE, head + "".join(rows))


def main() -> None:
    warnings.filterwarnings("ignore")
    held = pd.read_csv(TABLE, keep_default_na=False).to_dict("records") if TABLE.is_file() else []
    rows: list[dict[str, object]] = [{str(name): value for name, value in row.items()} for row in held]
    for module in timm.list_modules():
        if module in [row["module"] for row in rows]:
            continue
        rows.append(try_module(module))
        print(*rows[-1].values(), sep=" | ", flush=True)
        write_text(TABLE, pd.DataFrame(rows).sort_values("module").to_csv(index=False))
    write_page(pd.read_csv(TABLE, keep_default_na=False))


if __name__ == "__main__":
    main()
