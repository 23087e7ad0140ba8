import numpy as np
import pandas as pd
import torch

from fusion_ln.images.bank import ImageBank
from fusion_ln.images.patients import gather_pictures

CLINICAL = pd.DataFrame({"age": [3.0, 1.0, 2.0]}, index=["c", "a", "b"])


def bank(*patients):
    pixels = np.stack([np.full((3, 4, 4), ord(patient), dtype=np.uint8) for patient in patients])
    return ImageBank(pixels, np.array(patients), np.array([ord(patient) % 2 for patient in patients]))


def test_pictures_and_clinical_columns_are_joined_by_patient():
    gathered = gather_pictures({"2d": bank("b", "a", "b"), "cdfi": bank("c", "a")}, CLINICAL)
    assert gathered.patients.tolist() == ["a", "b", "c"]
    batch = gathered.cut(gathered.of(["c", "b"]))
    assert batch.patients.tolist() == ["b", "c"]
    assert batch.present.tolist() == [[[True, True], [False, False]], [[False, False], [True, False]]]
    assert batch.modalities_present.tolist() == [[True, False], [False, True]]
    assert [p[present].unique().tolist() for p, present in zip(batch.pictures, batch.present.unbind(1), strict=True)] \
        == [[ord("b")], [ord("c")]]  # fmt: skip
    assert batch.labels.tolist() == [0, 1]
    assert batch.clinical.tolist() == [[2.0], [3.0]]
    assert batch.with_clinical(-CLINICAL).clinical.tolist() == [[-2.0], [-3.0]]


def test_the_input_of_a_model_keeps_the_chosen_modalities_only():
    batch = gather_pictures({"2d": bank("a"), "cdfi": bank("a")}).cut(np.array([0]))
    pictures, present, clinical = batch.inputs(torch.tensor([[False, True]]), torch.device("cpu"))
    assert present.tolist() == [[[False], [True]]]
    assert pictures[1].unique().tolist() == [np.float32(ord("a") / 255)]
    assert clinical.shape == (1, 0)


def test_pictures_are_augmented_for_training_alone():
    pixels = np.random.default_rng(0).integers(0, 255, (1, 3, 32, 32), dtype=np.uint8)
    gathered = gather_pictures({"2d": ImageBank(pixels, np.array(["a"]), np.array([0]))})
    kept, device, plain = torch.tensor([[True]]), torch.device("cpu"), torch.from_numpy(pixels[None]) / 255
    assert torch.equal(gathered.cut(np.array([0])).inputs(kept, device)[0][0], plain)
    augmented = gathered.cut(np.array([0]), np.random.default_rng(0)).inputs(kept, device)[0][0]
    assert augmented.shape == plain.shape
    assert not torch.allclose(augmented, plain, atol=0.01)
