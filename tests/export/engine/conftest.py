"""Folders of models that nothing was trained for, and questions to them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.frozen.answer import answer
from fusion_ln.frozen.folder import ModelFolder
from fusion_ln.frozen.load import scores_table
from fusion_ln.frozen.unlike import write_moments
from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures
from fusion_ln.models.checkpoint import Checkpoint, save_checkpoint, save_head, save_tensors
from fusion_ln.settings.training import BaselineSettings, FitSettings


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def ask():
    """Answer for patients with every subset of the pictures, some with two of a modality, one of unknown age."""

    def ask(model):
        banks, rng = {}, np.random.default_rng(0)
        for m, modality in enumerate(model.modalities):
            owners = [f"{n}" for n in range(1, 8) if n >> m & 1]
            owners, views = [*owners, owners[0]], [0] * len(owners) + [1]
            pixels = rng.integers(0, 256, (len(owners), 3, 32, 32), np.uint8)
            banks[modality] = ImageBank(pixels, np.array(owners), views)
        pictures = gather_pictures(banks)
        ages = [None, *range(40, 39 + len(pictures.patients))]
        return answer(model, pictures, pd.DataFrame({"patient_id": pictures.patients, "age": ages}))

    return ask


@pytest.fixture
def freeze(tmp_path):
    """Write the folder of a model; returns the model with its root and digest."""

    def freeze(model):
        folder, record = ModelFolder(tmp_path / "model"), model.record
        for place, number in enumerate(record.numbers):
            one = model.models[place]
            for modality, side in record.modalities.items():
                member = one.members[modality]
                fit = FitSettings(backbone=member.backbone.architecture, image_size=side, head_width=8)
                settings = BaselineSettings(modality=modality, fit=fit)
                described = Checkpoint(settings, record.classes, number)
                save_checkpoint(folder.network(modality, number), member.state_dict(), described)
                if len(one.sources):
                    save_tensors(folder.source(modality), one.sources[modality].state_dict())
            if record.head:
                held, shape = record.head[place], one.fusion.shape
                weights = (one if held.finetune else one.fusion).state_dict()
                save_head(folder.head(number), weights, held, shape, one.columns, fold=number)
        write_moments(folder.moments, model.known.moments)
        write_parquet(folder.scores, scores_table(model.scores))
        write_json(folder.record, record.model_dump(mode="json"))
        return dataclasses.replace(model, root=folder.root, digest=folder.write_digest())

    return freeze
