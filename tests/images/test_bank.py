from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from fusion_ln.errors import CohortError
from fusion_ln.images import bank as bank_module
from fusion_ln.images.bank import ImageBank, open_bank
from fusion_ln.images.batches import Batches
from fusion_ln.images.prepare import prepare_picture
from fusion_ln.terms import cache_folder


def bank_of(labels):
    n = len(labels)
    pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 4), dtype=np.uint8)
    return ImageBank(pixels, np.array([f"p{i}" for i in range(n)]), np.asarray(labels))


def drawn(batches, epoch):
    return [int(p[0, 0, 0]) for batch in batches.shuffled(epoch) for p in batch.pictures]


def test_a_picture_keeps_its_proportions():
    """A disc stays a disc: its axis ratio is a finding."""
    rows, columns = np.ogrid[:60, :120]
    disc = ((rows - 30) ** 2 + (columns - 60) ** 2 < 20**2).astype(np.uint8) * 255
    prepared = prepare_picture(np.repeat(disc[..., None], 3, axis=2), 60)[0] > 127
    assert prepared.shape == (60, 60)
    assert prepared.any(axis=0).sum() == pytest.approx(prepared.any(axis=1).sum(), abs=1)


def test_a_bank_holds_the_pictures_of_its_patients(make_cohort):
    cohort = make_cohort(6, views=2)
    bank = open_bank(cohort, "cdfi", 40)
    assert bank.pixels.shape == (12, 3, 40, 40)
    for row in (0, 7):
        image = cohort.images_of("cdfi").iloc[row]
        assert bank.patients[row] == image.patient_id
        pixels = np.asarray(Image.open(cohort.picture_path(image.path))).transpose(2, 0, 1)
        np.testing.assert_array_equal(bank.pixels[row][:, 2:38], pixels)  # 36 rows, two black ones on each side


def test_a_bank_is_prepared_once(make_cohort):
    cohort = make_cohort(6)
    open_bank(cohort, "2d", 32)
    files = [(f, f.stat().st_mtime_ns) for f in (cache_folder() / "banks").iterdir()]
    open_bank(cohort, "2d", 32)
    assert [(f, f.stat().st_mtime_ns) for f in (cache_folder() / "banks").iterdir()] == files


def test_a_picture_that_was_changed_since_its_import_is_refused(make_cohort):
    cohort = make_cohort(6)
    path = cohort.picture_path(cohort.images_of("2d")["path"].iloc[0])
    Image.new("RGB", (40, 36)).save(path)
    with pytest.raises(CohortError, match="changed"):
        open_bank(cohort, "2d", 32)
    assert not list(cache_folder().iterdir())


def test_an_absent_modality_is_refused_with_the_known_ones(make_cohort):
    with pytest.raises(CohortError, match=r"'ceus'[^$]*2d, cdfi, elastic"):
        open_bank(make_cohort(6), "ceus", 32)


def test_oversampling_balances_classes_and_keeps_every_picture():
    batches = Batches(bank_of([0] * 9 + [1] * 3 + [2]), np.arange(13), batch_size=3, oversample=True)
    rows = drawn(batches, 0)
    assert np.bincount(batches.bank.labels[rows]).tolist() == [9, 9, 9]
    assert set(rows) == set(range(13))


def test_the_order_depends_on_seed_and_epoch_alone():
    bank = bank_of([0, 1, 2] * 10)
    batches = Batches(bank, np.arange(30), batch_size=4, seed=5)
    assert drawn(batches, 3) == drawn(Batches(bank, np.arange(30), batch_size=4, seed=5), 3)
    assert drawn(batches, 3) != drawn(batches, 4)
    assert drawn(batches, 3) != drawn(Batches(bank, np.arange(30), batch_size=4, seed=6), 3)


def test_several_devices_share_every_batch_without_overlap():
    bank = bank_of([0, 1, 2] * 8)
    whole = drawn(Batches(bank, np.arange(24), batch_size=6), 0)
    parts = [drawn(Batches(bank, np.arange(24), batch_size=6, share=(rank, 2)), 0) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)


def test_in_order_gives_every_picture_once():
    rows = [int(p[0, 0, 0]) for b in Batches(bank_of([0] * 11), np.arange(11), 4).in_order() for p in b.pictures]
    assert rows == list(range(11))


def test_a_bank_wanted_by_several_threads_is_prepared_once(make_cohort, monkeypatch):
    cohort, prepared, real = make_cohort(6), [], bank_module.prepare_picture
    monkeypatch.setattr(bank_module, "prepare_picture", lambda *args: prepared.append(1) or real(*args))
    with ThreadPoolExecutor(3) as pool:
        banks = list(pool.map(lambda _: open_bank(cohort, "2d", 32), range(3)))
    assert len(prepared) == len(banks[0].patients) == 6


def test_batches_cut_on_a_gpu_are_those_of_the_host(monkeypatch):
    bank = bank_of([0] * 5 + [1] * 2)
    host = [
        (b.pictures, b.labels, list(b.patients)) for b in Batches(bank, np.arange(7), 3, oversample=True).shuffled(1)
    ]
    monkeypatch.setattr(bank_module, "free_memory", lambda device: 1 << 30)
    held = bank_of([0] * 5 + [1] * 2)
    cut = list(Batches(held, np.arange(7), 3, oversample=True).shuffled(1))
    assert held.copy_on(torch.device("cpu")) is not None
    for (pictures, labels, patients), batch in zip(host, cut, strict=True):
        assert torch.equal(batch.pictures, pictures)
        assert torch.equal(batch.labels, labels)
        assert list(batch.patients) == patients


def test_a_bank_that_would_fill_a_gpu_stays_on_the_host(monkeypatch):
    bank = bank_of([0, 1])
    monkeypatch.setattr(bank_module, "free_memory", lambda device: 2 * bank.pixels.nbytes)
    assert bank.copy_on(torch.device("cpu")) is None
