"""The default command's training, changed in one thing at a time: does any change serve 240 patients better?

Question  What do smoothed labels, averaged weights, another warm-up, weights of the loss, other pooling or a network
          that first learns from all modalities bring to the first run?
Command   python experiments/accuracy/recipes.py --weights RUNS/pretraining   (stopped, the same command goes on)
          the same with --seeds 1 2 --rows 0 1 4 8 9 13                       (the rows of three seeds)
          python experiments/accuracy/recipes.py --page                       (of the table alone, trains nothing)
Time      about 200 CPU seconds a row and seed
Expect    smoothed labels, which the command took over since, above labels as they are by inner validation (AUC) in each
          of three seeds; maxima above both there, out of fold not above smoothed labels; what rows of one seed bring,
          it does not show
          (it writes benchmarks/recipes.csv, a row as it ends, and of all rows recipes.md)

The loop is the shortest that trains as `fusion_ln.training.fit` does. Rows that begin with "smoothed" change the second
row, all others the first one.
"""

import argparse
import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from parallel_training import prepare_pictures, processes_of_one_thread
from scipy.special import softmax
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fusion_ln.bench.page import describe_origin, table_head, table_row
from fusion_ln.cohort.default import open_cohort
from fusion_ln.files.formats import write_csv, write_text
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import open_bank
from fusion_ln.images.batches import HOST, Batches, as_network_input
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.models.classifier import build_classifier, mlp_head
from fusion_ln.settings.training import PRESETS, PRETRAINED
from fusion_ln.terms import short_title
from fusion_ln.threads import cores
from fusion_ln.training.fit import derive_seed
from fusion_ln.training.optimizer import build_optimizer, layer_rates
from fusion_ln.training.tasks import PatientLogits, PictureTask

PAGES = Path(__file__).parents[1] / "benchmarks"
FIT, CLASS = PRESETS[PRETRAINED], "lymphoma"
FUSED = ("mean of probabilities", "mean of logits")
OPTIMIZED = ("lr", "weight_decay", "layer_decay")  # of a recipe, as settings name them
open_patients = partial(open_cohort, None)  # those of the default command
bfloat16 = partial(torch.autocast, "cpu", torch.bfloat16)


@dataclass(frozen=True)
class Recipe:
    """What a row changes in the command's training.

    Attributes:
        rising: Share of the steps in which the rate rises.
        layer_decay: Rate of each layer of the backbone as a share of the next one's.
        averaged: Decay, per step, of the running mean of the weights that predicts; 0: the weights themselves.
        weighted: The loss is weighted by class, and no class is over-sampled.
        last: The last epoch predicts, not that of the lowest inner validation loss.
        maximum: The head sees the maximum of each map, besides its mean.
        fine: The last stage keeps the places of the one before: at 64 pixels its maps have 4 x 4, not 2 x 2.
        shared_epochs: Epochs in which one network under three heads learns from all modalities, before its copies
            learn from theirs for ``epochs``.
    """

    epochs: int = FIT.epochs
    lr: float = FIT.lr
    rising: float = 0.3
    layer_decay: float = 1.0
    weight_decay: float = 0.0
    augmentation: float = FIT.augmentation
    smoothing: float = 0.0
    dropout: float = 0.0
    averaged: float = 0.0
    weighted: bool = False
    last: bool = False
    maximum: bool = False
    fine: bool = False
    shared_epochs: int = 0


RECIPES = {
    "labels as they are": Recipe(),
    "**the command's**: labels smoothed by 0.1": Recipe(smoothing=0.1),
    "running mean of the weights (EMA), 0.95 a step": Recipe(averaged=0.95),
    "rate rises for a twentieth of the steps, not three tenths": Recipe(rising=0.05),
    "loss weighted by class, nothing over-sampled": Recipe(weighted=True),
    "weight decay 0.05": Recipe(weight_decay=0.05),
    "dropout 0.3 before the last layer": Recipe(dropout=0.3),
    "the last epoch, not the best": Recipe(last=True),
    "maxima of the maps beside their means": Recipe(maximum=True),
    "last stage of 4 x 4 places, not 2 x 2": Recipe(fine=True),
    "one network for three modalities": Recipe(shared_epochs=10, epochs=0),
    "two stages: one network for 5 epochs, then 6 epochs each": Recipe(shared_epochs=5, epochs=6, lr=2e-3),
    "smoothed, loss weighted by class, nothing over-sampled": Recipe(smoothing=0.1, weighted=True),
    "smoothed, maxima of the maps beside their means": Recipe(smoothing=0.1, maximum=True),
    "smoothed, augmentation 3": Recipe(smoothing=0.1, augmentation=3.0),
    "smoothed, rates fall by 0.7 from layer to layer": Recipe(smoothing=0.1, layer_decay=0.7),
}


class Network(nn.Module):
    """The command's network, with another pooling or another last stage."""

    def __init__(self, recipe: Recipe, weights: str, n_classes: int) -> None:
        super().__init__()
        self.maximum = recipe.maximum
        self.backbone = build_classifier(FIT.model_copy(update={"weights": weights}), n_classes).backbone
        for layer in self.backbone.body.layer4.modules() if recipe.fine else ():
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
            elif isinstance(layer, nn.AvgPool2d):
                layer.stride = layer.kernel_size = 1
        n_features = self.backbone.n_features * (1 + recipe.maximum)
        self.head = mlp_head(n_features, FIT.head_width, n_classes, recipe.dropout)

    def forward(self, pictures: Tensor) -> Tensor:
        """Classify pictures in [0, 1], shape (B, 3, H, W). Logits (B, C)."""
        if not self.maximum:
            features = self.backbone(pictures)
        else:
            maps = self.backbone.body.forward_features((pictures - self.backbone.mean) / self.backbone.std)
            features = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        logits: Tensor = self.head(features)
        return logits

    def under_a_head_of_its_own(self) -> "Network":
        """Return a network of the same backbone, which learns with this one, under another head."""
        other = copy.copy(self)
        other._modules = {**self._modules, "head": copy.deepcopy(self.head)}
        return other


def predict(network: nn.Module, modality: str, batches: Batches) -> PatientLogits:
    """Predict patients, with the mean of their pictures' logits."""
    with bfloat16():
        return PictureTask(modality, network).predict(batches, HOST)


def train(
    networks: Mapping[str, Network],
    batches: Mapping[str, Batches],
    inner: Mapping[str, Batches],
    recipe: Recipe,
    epochs: int,
    seed: int,
) -> dict[str, Network]:
    """Train networks by modality, in mixed order where several are given. Returns copies, each at its best epoch."""
    settings = FIT.with_changes({name: getattr(recipe, name) for name in OPTIMIZED}, "recipe")
    scales = {
        f"{modality}.{name}": scale
        for modality, network in networks.items()
        for name, scale in layer_rates(network.backbone, settings).items()
    }
    optimizer = build_optimizer(nn.ModuleDict(networks), settings, scales)  # parameters that networks share count once
    n_steps = epochs * sum(len(part) for part in batches.values())
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, n_steps, pct_start=recipe.rising)
    predicting = {modality: _predicting(network, recipe.averaged) for modality, network in networks.items()}
    lowest, best = dict.fromkeys(networks, np.inf), {}
    for epoch in range(epochs):
        torch.manual_seed(derive_seed(seed, epoch, 0))
        order = [modality for modality, part in batches.items() for _ in range(len(part))]
        parts = {modality: part.shuffled(epoch) for modality, part in batches.items()}
        for modality in np.random.default_rng([seed, epoch]).permutation(order):
            batch, network = next(parts[modality]), networks[modality].train()
            optimizer.zero_grad()
            pictures = augment(as_network_input(batch.pictures), modality, recipe.augmentation)
            with bfloat16():
                F.cross_entropy(  # type: ignore[no-untyped-call]
                    network(pictures),
                    batch.labels,
                    weight=_weights(batches[modality]) if recipe.weighted else None,
                    label_smoothing=recipe.smoothing,
                ).backward()
            optimizer.step()
            schedule.step()
            if isinstance(mean := predicting[modality], AveragedModel):
                mean.update_parameters(network)
        for modality, asked in predicting.items():
            loss = predict(asked, modality, inner[modality]).score.loss
            if loss < lowest[modality] or recipe.last:
                lowest[modality] = loss
                body = asked.module if isinstance(asked, AveragedModel) else asked
                best[modality] = copy.deepcopy(body.state_dict())
    trained = {modality: copy.deepcopy(network) for modality, network in networks.items()}
    for modality, network in trained.items():
        network.load_state_dict(best[modality])
    return trained


def _predicting(network: Network, decay: float) -> nn.Module:
    if not decay:
        return network
    running_mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=running_mean, use_buffers=True)


def _weights(part: Batches) -> Tensor:
    counts = np.bincount(part.bank.labels[part.rows])
    return torch.from_numpy(counts.mean() / counts).float()


def fit_fold(name: str, seed: int, fold: int, weights: str) -> tuple[list[dict[str, PatientLogits]], float]:
    """Train the networks of a fold; inner validation and held-out patients by modality, and processor seconds."""
    started, recipe, cohort = time.process_time(), RECIPES[name], open_patients()
    own = derive_seed(seed, fold)

    def cut(patients: list[str], oversample: bool = False) -> dict[str, Batches]:
        banks = {modality: open_bank(cohort, modality, FIT.image_size) for modality in cohort.modalities}
        rows = {modality: bank.rows_of(patients) for modality, bank in banks.items()}
        return {m: Batches(banks[m], rows[m], FIT.batch_size, own, oversample=oversample) for m in banks}

    training, inner = cohort.training_part(fold)
    batches, parts = cut(training, not recipe.weighted), [cut(inner), cut(cohort.held_out(fold))]

    def first() -> Network:
        torch.manual_seed(own)
        return Network(recipe, weights, len(cohort.classes)).to(memory_format=torch.channels_last)

    networks = {modality: first() for modality in cohort.modalities}
    if recipe.shared_epochs:
        shared = first()
        networks = {modality: shared.under_a_head_of_its_own() for modality in cohort.modalities}
        networks = train(networks, batches, parts[0], recipe, recipe.shared_epochs, own)
    if recipe.epochs:
        for modality in cohort.modalities:
            alone, seen, checked = networks[modality], batches[modality], parts[0][modality]
            networks |= train({modality: alone}, {modality: seen}, {modality: checked}, recipe, recipe.epochs, own)
    predicted = [
        {modality: predict(networks[modality], modality, part[modality]) for modality in part} for part in parts
    ]
    return predicted, time.process_time() - started


def row_of(name: str, seed: int, folds: list[list[dict[str, PatientLogits]]], seconds: float) -> dict[str, object]:
    """Score inner validation, pooled over the folds, and the out-of-fold predictions of a row."""
    cohort, row = open_patients(), {"recipe": name, "seed": seed, "cpu_seconds": round(seconds)}
    for part, title in enumerate(("inner", "held out")):
        labels = np.concatenate([fold[part][cohort.modalities[0]].labels for fold in folds])
        logits = {m: np.concatenate([fold[part][m].logits for fold in folds]) for m in cohort.modalities}
        probs = {m: softmax(each, axis=1) for m, each in logits.items()}
        fused = np.mean(list(probs.values()), axis=0), softmax(np.mean(list(logits.values()), axis=0), axis=1)
        probs |= dict(zip(FUSED, fused, strict=True))
        for model, each in probs.items():
            row[f"{title}: {model}"] = float(score(labels, each, cohort.classes)[PRIMARY][0])
        row[f"{title}: loss"] = -np.log(fused[0][np.arange(len(labels)), labels]).mean()
        of_class = labels == cohort.classes.index(CLASS)
        row[f"{title}: recall"] = (fused[1][of_class].argmax(1) == cohort.classes.index(CLASS)).mean()
    return row


def train_rows(table: Path, names: list[str], seeds: list[int], weights: str) -> None:
    """Train every row that is asked for and not in the table."""
    held = pd.read_csv(table) if table.is_file() else pd.DataFrame(columns=["recipe", "seed"])
    done = set(zip(held["recipe"], held["seed"], strict=True))
    with processes_of_one_thread(cores()) as pool:
        pool.submit(prepare_pictures, open_patients, FIT.image_size).result()
        asked = [each for each in product(names, seeds) if each not in done]
        running = {each: [pool.submit(fit_fold, *each, fold, weights) for fold in range(5)] for each in asked}
        for (name, seed), futures in running.items():
            folds, seconds = zip(*(future.result() for future in futures), strict=True)
            held = pd.concat([held, pd.DataFrame([row_of(name, seed, list(folds), sum(seconds))])], ignore_index=True)
            write_csv(table, held.round(4))


def render(held: pd.DataFrame, origin: str) -> str:
    """Write the page of the table."""
    modalities = [name.removeprefix("inner: ") for name in held.columns if name.startswith("inner: ")][:3]
    models = [*modalities, *FUSED]
    titles = [short_title(modality) for modality in modalities]
    lines = [
        "# One thing changed in the first run's training",
        "",
        origin,
        "",
        f"The default command's 240 **simulated** patients, five folds, {FIT.backbone} at {FIT.image_size} px from its "
        "own pre-training; macro AUC, one against the rest, out of fold. Inner validation chooses (of the mean of "
        "logits: AUC; of the mean of probabilities: loss, which smoothed labels raise, since they hold probabilities "
        f"back); what is out of fold judges. Recall: of {CLASS}, by the mean of logits. Where there are several seeds: "
        "their mean (lowest to highest). Rows that begin with *smoothed* change the second row, all others the first. "
        "What is not over-sampled takes fewer steps; *two stages* also takes a lower rate, 0.002.",
        "",
        *table_head(["Recipe", "seeds", "CPU s", "inner: AUC", "loss", *titles, *FUSED, "recall"]),
    ]
    for name in [name for name in RECIPES if name in set(held["recipe"])]:
        rows = held[held["recipe"] == name]
        shown = [_mean(rows, f"inner: {FUSED[1]}", 3), _mean(rows, "inner: loss", 3)]
        shown += [_mean(rows, f"held out: {model}", 3) for model in models] + [_mean(rows, "held out: recall", 2)]
        lines.append(table_row([name, f"{len(rows)}", f"{rows['cpu_seconds'].mean():.0f}", *shown]))
    return "\n".join(lines) + "\n"


def _mean(rows: pd.DataFrame, name: str, digits: int) -> str:
    values = rows[name]
    spread = f" ({values.min():.{digits}f} to {values.max():.{digits}f})" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def main() -> None:
    """Train rows, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="Folder of the pre-training that the command made.")
    parser.add_argument("--table", type=Path, default=PAGES / "recipes.csv", help="CSV of the finished rows.")
    parser.add_argument("--rows", type=int, nargs="+", default=range(len(RECIPES)), help="Rows, counted from 0.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds of the fits.")
    parser.add_argument("--page", action="store_true", help="Write the page of what is there.")
    options = parser.parse_args()
    if options.page:
        write_text(PAGES / "recipes.md", render(pd.read_csv(options.table), describe_origin("torch", "timm")))
    elif options.weights:
        names = list(RECIPES)
        train_rows(options.table, [names[row] for row in options.rows], options.seeds, options.weights)
    else:
        parser.error("--weights is needed: RUNS/pretraining of `fusionln run fusion`.")


if __name__ == "__main__":
    main()
