from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.augment import augment
from liveness_training.data.batches import TrainingCrops, clip_items, service_images
from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.drawing import BalancedBatches, image_items
from liveness_training.data.samples import DataError, Sample

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


SOURCES = ("a", "b", "c")


def sampler(crops=UNEVEN, rows=None, per_domain=16, steps=4, seed=1, **options):
    rows = range(len(crops.samples)) if rows is None else rows
    return BalancedBatches(image_items(crops.samples, rows), per_domain=per_domain, steps=steps, seed=seed, **options)


def batches(*arguments, **options):
    """Batches of (row, number of the draw)."""
    return [[(rows[0], draw) for rows, draw, _ in batch] for batch in sampler(*arguments, **options)]


def images(crops=UNEVEN, seed=5, share=1.0, **options):
    return TrainingCrops(crops, SPEC, SOURCES, seed=seed, service_view_share=share, **options)


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
    assert [len(batch) for batch in batches(per_domain=7, steps=5)] == [21] * 5
    assert len(sampler(per_domain=7, steps=5)) == 5
    assert sampler(per_domain=7).batch_size == 21


def test_draws_have_numbers_of_their_own():
    draws = [draw for batch in batches(per_domain=2, steps=3) for _, draw in batch]
    clips = [draw for batch in batches(per_domain=2, steps=3, stream=2) for _, draw in batch]
    assert len({*draws, *clips}) == 36


@pytest.mark.parametrize("start", [1, 3, 4])
def test_a_resumed_run_draws_what_the_other_one_did(start):
    assert batches(start=start) == batches()[start:]
    assert len(sampler(start=start)) == 4 - start


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_share_each_batch_whatever_their_number(size):
    parts = [batches(part=(rank, size)) for rank in range(size)]
    for step, whole in enumerate(batches()):
        assert [item for part in parts for item in part[step]] == whole


def test_pieces_that_differ_between_processes_are_refused():
    """Batch norms meet in every piece: a process with fewer of them would be waited for without end."""
    assert len(batches(per_domain=4, part=(0, 2), accumulation=3, steps=1)) == 1
    assert len(batches(per_domain=4, part=(0, 1), accumulation=5, steps=1)) == 1
    with pytest.raises(DataError, match=r"a batch of 12 .* cut into 5 equal pieces for each of 2 processes"):
        batches(per_domain=4, part=(0, 2), accumulation=5)


def test_a_batch_too_small_for_all_processes_is_refused():
    """One without a part would make no step, and the others would wait for it."""
    assert [len(batch) for batch in batches(per_domain=2, part=(5, 6), steps=2)] == [1, 1]
    with pytest.raises(DataError, match=r"a batch of 6 .* cannot be shared by 7 processes"):
        sampler(per_domain=2, part=(0, 7))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_loaders_workers_do_not_change_what_comes(workers):
    crops = images(noise(), augmentation="flip", share=0.5)
    drawn = [[((draw % 2,), draw, "") for draw in range(first, first + 3)] for first in (0, 3, 6)]
    # Other tests leave threads in this process, and a child that is forked from it may wait for their locks for ever.
    fresh = "spawn" if workers else None
    loader = DataLoader(crops, batch_sampler=drawn, num_workers=workers, multiprocessing_context=fresh)
    for keys, (image, label, domain, _) in zip(drawn, loader, strict=True):
        assert torch.equal(image, torch.stack([crops[key][0] for key in keys]))
        assert label.tolist() == domain.tolist() == [0, 0, 0]


def test_images_and_clips_are_drawn_by_chances_of_their_own():
    assert [row for row, _ in batches()[0]] != [row for row, _ in batches(stream=2)[0]]


def test_seed_decides_and_a_longer_run_begins_as_a_shorter_one():
    assert batches(steps=3) == batches(steps=3)
    assert batches(steps=6)[:3] == batches(steps=3)
    assert batches(steps=3, seed=2) != batches(steps=3, seed=1)
    first, second, *_ = batches(steps=3)
    assert [row for row, _ in first] != [row for row, _ in second]


def test_order_of_domains_in_the_data_does_not_matter_to_the_balance():
    reordered = crop_set(("c", "mask", "", 5), ("a", "live", "", 5), ("c", "live", "", 5), ("a", "print", "", 5))
    [batch] = batches(reordered, per_domain=4, steps=1)
    counts = Counter((reordered.samples[row].domain, reordered.samples[row].live) for row, _ in batch)
    assert set(counts.values()) == {2}


def noise(count=2):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32, 3), dtype=np.uint8)
    return CropSet(UNEVEN.samples[:count], (), pixels)


def test_item_is_the_augmented_crop_with_its_label_and_the_place_of_its_domain():
    crops = images()
    image, label, domain, mark = crops[(40,), 17, ""]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert (label, domain) == (1, 0)
    assert np.isnan(mark)  # nobody marks it
    assert crops[(0,), 17, ""][1:3] == (0, 0)
    assert crops[(50,), 17, ""][1:3] == (0, 1)
    random = np.random.default_rng([5, 17])
    random.random()  # which view
    change = np.random.default_rng(int(random.integers(2**63)))
    expected = SPEC.to_tensor([augment(np.asarray(UNEVEN.crops_MVSS3[40, 0]), change)])[0]
    np.testing.assert_array_equal(image.numpy(), expected)


def test_teacher_marks_the_picture_as_the_student_sees_it():
    class Brightness:
        def log_odds(self, crop):
            return float(crop.mean())

    plain, marked = images(noise(), share=0.5), images(noise(), share=0.5, teacher=Brightness())
    for draw in range(8):
        for simulation in ("", "simulated_print"):
            image, *_ = plain[(1,), draw, simulation]
            same, _, _, mark = marked[(1,), draw, simulation]
            assert torch.equal(same, image)
            assert mark == pytest.approx(127.5 * (1 + float(image.mean())), abs=0.1)
    assert np.isnan(marked[(0, 1), 0, ""][3])  # clips are not marked


def test_all_frames_of_a_clip_are_changed_alike():
    pixels = np.repeat(noise().crops_MVSS3[:1], 4, axis=0)  # four times the same frame
    crops = images(CropSet(UNEVEN.samples[:4], (), pixels), share=0.5)
    seen = []
    for draw in range(6):
        clip, *_ = crops[(0, 1, 2, 3), draw, ""]
        assert clip.shape == (4, 3, 32, 32)
        assert all(torch.equal(frame, clip[0]) for frame in clip)
        seen.append(clip[0])
    assert not torch.equal(seen[0], seen[1])


def test_share_of_grey_pictures_reaches_the_augmentation():
    def means(share):
        """Of each channel; noise averages out."""
        crops = images(CropSet(UNEVEN.samples[:1], (), red), grey_share=share)
        return [crops[(0,), draw, ""][0].mean((1, 2)) for draw in range(8)]

    red = np.broadcast_to(np.uint8([180, 60, 40]), (1, 1, 32, 32, 3))
    assert all(mean.max() - mean.min() < 0.1 for mean in means(1.0))
    assert all(mean.max() - mean.min() > 0.2 for mean in means(0.0))


@pytest.mark.parametrize("kind", ["none", "flip"])
def test_less_augmentation_leaves_the_pixels(kind):
    crops = images(noise(), augmentation=kind)
    plain = torch.from_numpy(SPEC.to_tensor([noise().crops_MVSS3[0, 0]])[0])
    seen = [crops[(0,), draw, ""][0] for draw in range(20)]
    mirrored = [torch.equal(image, plain.flip(2)) for image in seen]
    assert all(torch.equal(image, plain) or mirror for image, mirror in zip(seen, mirrored, strict=True))
    assert any(mirrored) is (kind == "flip")


def test_item_depends_on_seed_and_draw_alone():
    first, again, other = images(noise()), images(noise()), images(noise(), seed=6)
    _ = again[(1,), 99, ""]  # an order of access that differs
    assert torch.equal(first[(0,), 3, ""][0], again[(0,), 3, ""][0])
    assert not torch.equal(first[(0,), 3, ""][0], first[(0,), 4, ""][0])
    assert not torch.equal(first[(0,), 3, ""][0], other[(0,), 3, ""][0])


def clip(domain, species, number):
    return Clip((number, number + 1), Sample(f"{number}.jpg", domain, species == "live", species, "p", f"s{number}"))


def test_domains_whose_clips_are_of_one_label_are_left_out_of_clips():
    clips = [clip("a", "live", 0), clip("a", "print", 2), clip("b", "live", 4), clip("b", "live", 6)]
    assert [item.rows for item in clip_items(clips)] == [(0, 1), (2, 3)]
    with pytest.raises(DataError, match="short_clips=stretch"):
        clip_items(clips[2:])


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_share_of_the_services_view_is_held(share, expected):
    # View 0 is black and stays so; the others are white, of which enough is left by any augmentation.
    pixels = np.full((2, 3, 32, 32, 3), 255, np.uint8)
    pixels[:, 0] = 0
    items = images(CropSet(UNEVEN.samples[:2], (), pixels), seed=1, share=share)
    service = [items[(0,), draw, ""][0].median().item() < -0.5 for draw in range(200)]
    assert np.mean(service) == pytest.approx(expected, abs=0.1 if 0 < share < 1 else 0)


def test_crops_of_one_view_are_that_view():
    crops = crop_set(("a", "live", "", 2), views=1)
    image, *_ = images(crops, share=0.0)[(0,), 0, ""]
    assert image.shape == (3, 32, 32)


def test_service_images_are_the_first_views_in_the_order_asked_for():
    images = service_images(UNEVEN, [5, 0, 2])
    assert images.shape == (3, 32, 32, 3)
    assert images[:, 0, 0, 0].tolist() == [15, 0, 6]


def test_simulated_attacks_are_species_of_their_own():
    crops = CropSet(UNEVEN.samples, (), np.zeros((len(UNEVEN.samples), 1, 8, 8, 3), np.uint8))
    rows = range(len(crops.samples))
    items = image_items(crops.samples, rows, simulations=("simulated_print", "simulated_replay"))
    live = [row for row in rows if crops.samples[row].live]
    assert len(items) == len(rows) + 2 * len(live)
    sampler = BalancedBatches(items, per_domain=8, steps=100, seed=1)
    drawn = [key for batch in sampler for key in batch]
    attacks = [(taken[0], kind) for taken, _, kind in drawn if kind or not crops.samples[taken[0]].live]
    assert len(attacks) == len(drawn) // 2  # labels stay in balance
    simulated = [kind for _, kind in attacks if kind]
    assert abs(simulated.count("simulated_print") - simulated.count("simulated_replay")) < 0.2 * len(simulated)
    assert {crops.samples[row].live for row, kind in attacks if kind} == {True}


def test_a_simulated_attack_is_an_attack_and_depends_on_seed_and_draw_alone():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, 1, 32, 32, 3), dtype=np.uint8)
    live = next(sample for sample in UNEVEN.samples if sample.live)
    crops = CropSet((live, live), (), pixels)
    first, again = images(crops, augmentation="none"), images(crops, augmentation="none")
    image, label, domain, _ = first[(0,), 3, "simulated_replay"]
    plain, plain_label, plain_domain, _ = first[(0,), 3, ""]
    assert (label, plain_label, domain) == (1, 0, plain_domain)
    assert not torch.equal(image, plain)
    assert torch.equal(image, again[(0,), 3, "simulated_replay"][0])
    assert not torch.equal(image, first[(0,), 4, "simulated_replay"][0])
    assert not torch.equal(image, first[(0,), 3, "simulated_print"][0])
