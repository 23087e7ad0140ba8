"""AutoGluon-Multimodal on the patients and folds of `side_by_side.py`, whose other environment runs this file.

Command: PYTHON package.py PLAN.json, of which `side_by_side.py` says what it holds; it writes ``out``, a JSON.
One network for all pictures of a patient, whose logits are averaged; its first weights are drawn here, as nothing
may be downloaded. What is not of the plan stays as the package has it.
"""

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from autogluon.multimodal import MultiModalPredictor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

LABEL = "label"
PRECISION = "32-true"  # all that the package computes in on a CPU


def draw_network(backbone: str, folder: Path, seed: int) -> Path:
    """Write a network of timm with random weights, in the folder that the package takes in place of a download."""
    torch.manual_seed(seed)
    network: Any = timm.create_model(backbone, pretrained=False, num_classes=0)
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    known = {key: network.pretrained_cfg[key] for key in ("input_size", "mean", "std")}
    config = {"architecture": backbone, "num_features": network.num_features, "pretrained_cfg": known}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def fit_fold(plan: dict[str, Any], table: pd.DataFrame, fold: int, folder: Path) -> MultiModalPredictor:
    """Train on the training part of a fold; inner validation stops, as in ours."""
    columns = [*plan["modalities"], LABEL]
    inner = table[f"inner_{fold}"]
    training = table.loc[(table["fold"] != fold) & ~inner, columns]
    predictor = MultiModalPredictor(label=LABEL, problem_type="multiclass", path=str(folder / "fit"), verbosity=0)
    predictor.fit(
        training,
        tuning_data=table.loc[inner, columns],
        column_types=dict.fromkeys(plan["modalities"], "image_path"),
        seed=fold,
        hyperparameters={
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": str(draw_network(plan["backbone"], folder / "start", fold)),
            "model.timm_image.image_size": plan["image_size"],
            "env.accelerator": "cpu",
            "env.precision": PRECISION,
            "env.batch_size": plan["batch_size"],
            "env.per_gpu_batch_size": plan["batch_size"],
            "optim.max_epochs": plan["epochs"],
            "optim.lr": plan["lr"],
            "optim.lr_choice": "single_stage",  # by itself the rate falls from layer to layer, for trained weights
            "optim.val_check_interval": 1.0,  # by itself twice an epoch, and its patience of 10 then is 5 epochs
        },
    )
    return predictor


def main() -> None:
    """Train and predict every fold."""
    logging.disable(logging.WARNING)
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    table = pd.read_csv(plan["table"], dtype={"patient_id": str})
    starts: list[float] = []  # of steps, which hold the passes of the network
    ends: list[float] = []
    register_optimizer_step_pre_hook(lambda *_: starts.append(time.perf_counter()))
    register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    predicted, pictures, seconds, epochs = [], 0.0, 0.0, []
    for fold in range(plan["folds"]):
        starts.clear()
        ends.clear()
        began = time.perf_counter()
        predictor = fit_fold(plan, table, fold, Path(plan["folder"]) / f"fold_{fold}")
        held = table[table["fold"] == fold]
        probs = predictor.predict_proba(held[plan["modalities"]], as_pandas=True)[plan["classes"]]
        predicted.append(probs.assign(patient_id=held["patient_id"].to_numpy()))
        n_training = int(((table["fold"] != fold) & ~table[f"inner_{fold}"]).sum())
        passes = len(ends) / -(-n_training // plan["batch_size"])
        epochs.append(passes)
        pictures += passes * n_training * len(plan["modalities"])
        seconds += ends[-1] - starts[0]
        print(fold, f"{time.perf_counter() - began:.1f} s, {len(ends)} steps", flush=True)
    versions = {name: version(name) for name in ("autogluon.multimodal", "torch", "timm", "lightning")}
    found = {"precision": PRECISION, "pictures": pictures, "seconds": seconds, "epochs": epochs, "versions": versions}
    Path(plan["out"]).write_text(
        json.dumps({**found, "predictions": pd.concat(predicted).to_dict("list")}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
