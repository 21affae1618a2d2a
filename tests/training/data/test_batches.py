from collections import Counter

import numpy as np
import pytest
import torch

from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.augment import augment
from liveness_training.data.batches import BalancedBatches, TrainingCrops, service_images
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample

SPEC = PreprocessSpec(size=32)


def crop_set(*groups, views=3):
    """Groups of (domain, species, sequence, number of pictures); each picture and view has a grey value of its own."""
    samples = [
        Sample(f"{domain}/{species}/{sequence}{n}.jpg", domain, species == "live", species, f"p{n}", sequence)
        for domain, species, sequence, count in groups
        for n in range(count)
    ]
    values = np.arange(len(samples) * views, dtype=np.uint8).reshape(len(samples), views, 1, 1, 1)
    return CropSet(tuple(samples), (), np.broadcast_to(values, (len(samples), views, 32, 32, 3)))


UNEVEN = crop_set(
    ("a", "live", "s1", 3),
    ("a", "print", "s2", 40),
    ("b", "live", "", 30),
    ("b", "live", "clip", 20),
    ("b", "print", "", 2),
    ("b", "replay", "long", 50),
    ("b", "replay", "short", 1),
    ("c", "live", "", 1),
    ("c", "mask", "", 1),
)


def batches(crops=UNEVEN, rows=None, batch_size=48, steps=4, seed=1):
    rows = range(len(crops.samples)) if rows is None else rows
    return list(BalancedBatches(crops, rows, batch_size=batch_size, steps=steps, seed=seed))


def test_every_batch_holds_each_domain_and_each_of_its_labels_equally_often():
    for batch in batches():
        samples = [UNEVEN.samples[row] for row, _ in batch]
        counts = Counter((sample.domain, sample.live) for sample in samples)
        assert counts == {(domain, live): 8 for domain in "abc" for live in (True, False)}


def test_species_recordings_and_pictures_are_drawn_evenly():
    drawn = [UNEVEN.samples[row] for batch in batches(steps=150) for row, _ in batch]
    attacks = [sample for sample in drawn if sample.domain == "b" and not sample.live]
    assert len(attacks) == 1200
    replays = [sample for sample in attacks if sample.species == "replay"]
    assert len(replays) == pytest.approx(600, abs=80)  # not 51 in 53
    assert sum(sample.sequence == "short" for sample in replays) == pytest.approx(300, abs=80)  # not 1 in 51
    live = [sample for sample in drawn if sample.domain == "b" and sample.live]
    pictures = Counter(sample.path for sample in live if not sample.sequence)
    assert len(pictures) == 30
    # A picture of no recording is a recording of its own, so the clip is one of 31 and not one of 2.
    assert sum(sample.sequence == "clip" for sample in live) < 100


def test_only_the_rows_given_are_drawn():
    rows = [row for row, sample in enumerate(UNEVEN.samples) if sample.path.endswith("0.jpg")]
    assert {row for batch in batches(rows=rows, steps=20) for row, _ in batch} <= set(rows)


def test_batches_have_their_size_and_number():
    assert [len(batch) for batch in batches(batch_size=7, steps=5)] == [7] * 5
    assert len(BalancedBatches(UNEVEN, [0], batch_size=7, steps=5, seed=1)) == 5


def test_draws_are_numbered_through_the_run():
    places = [draw for batch in batches(batch_size=6, steps=3) for _, draw in batch]
    assert places == list(range(18))


def test_seed_decides_and_a_longer_run_begins_as_a_shorter_one():
    assert batches(steps=3) == batches(steps=3)
    assert batches(steps=6)[:3] == batches(steps=3)
    assert batches(steps=3, seed=2) != batches(steps=3, seed=1)
    first, second, *_ = batches(steps=3)
    assert [row for row, _ in first] != [row for row, _ in second]


def test_order_of_domains_in_the_data_does_not_matter_to_the_balance():
    reordered = crop_set(("c", "mask", "", 5), ("a", "live", "", 5), ("c", "live", "", 5), ("a", "print", "", 5))
    [batch] = batches(reordered, batch_size=8, steps=1)
    counts = Counter((reordered.samples[row].domain, reordered.samples[row].live) for row, _ in batch)
    assert set(counts.values()) == {2}


def test_item_is_the_augmented_crop_with_its_label():
    crops = TrainingCrops(UNEVEN, SPEC, seed=5, service_view_share=1.0)
    image, label = crops[40, 17]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert label == 1
    assert crops[0, 17][1] == 0
    random = np.random.default_rng([5, 17])
    random.random()  # which view
    expected = SPEC.to_tensor([augment(np.asarray(UNEVEN.crops_MVSS3[40, 0]), random)])[0]
    np.testing.assert_array_equal(image.numpy(), expected)


def test_item_depends_on_seed_and_draw_alone():
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3), dtype=np.uint8)
    crops = CropSet(UNEVEN.samples[:2], (), noise)
    first = TrainingCrops(crops, SPEC, seed=5, service_view_share=0.5)
    again = TrainingCrops(crops, SPEC, seed=5, service_view_share=0.5)
    other = TrainingCrops(crops, SPEC, seed=6, service_view_share=0.5)
    _ = again[1, 99]  # an order of access that differs
    assert torch.equal(first[0, 3][0], again[0, 3][0])
    assert not torch.equal(first[0, 3][0], first[0, 4][0])
    assert not torch.equal(first[0, 3][0], other[0, 3][0])


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_share_of_the_services_view_is_held(share, expected):
    # View 0 is black and stays so; the others are white, of which enough is left by any augmentation.
    pixels = np.full((2, 3, 32, 32, 3), 255, np.uint8)
    pixels[:, 0] = 0
    items = TrainingCrops(CropSet(UNEVEN.samples[:2], (), pixels), SPEC, seed=1, service_view_share=share)
    service = [items[0, draw][0].median().item() < -0.5 for draw in range(200)]
    assert np.mean(service) == pytest.approx(expected, abs=0.1 if 0 < share < 1 else 0)


def test_crops_of_one_view_are_that_view():
    crops = crop_set(("a", "live", "", 2), views=1)
    image, _ = TrainingCrops(crops, SPEC, seed=1, service_view_share=0.0)[0, 0]
    assert image.shape == (3, 32, 32)


def test_service_images_are_the_first_views_in_the_order_asked_for():
    images = service_images(UNEVEN, [5, 0, 2])
    assert images.shape == (3, 32, 32, 3)
    assert images[:, 0, 0, 0].tolist() == [15, 0, 6]
