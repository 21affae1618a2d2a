import numpy as np

from liveness_core.clips import ClipSpec
from liveness_training.data.clips import clips_of
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample

FOUR = ClipSpec(frames=4)


def frames(sequence, count, species="live", domain="office", places=None):
    """Samples of one recording: pictures, or frames of a video where `places` says which."""
    return [
        Sample(
            f"{sequence}.mp4" if places else f"{sequence}/{number}.jpg",
            domain,
            species == "live",
            species,
            "anna",
            sequence,
            frame=places[number] if places else None,
        )
        for number in range(count)
    ]


def crop_set(*recordings):
    samples = tuple(sample for recording in recordings for sample in recording)
    return CropSet(samples, (), np.zeros((len(samples), 1, 4, 4, 3), np.uint8))


def clips(crops, spec=FOUR, short="skip", rows=None):
    rows = range(len(crops.samples)) if rows is None else rows
    return [(clip.sample.recording, clip.rows) for clip in clips_of(crops, rows, spec, short)]


def test_clip_is_the_frames_that_the_service_would_take():
    crops = crop_set(frames("b", 4), frames("a", 9))
    assert clips(crops) == [("office/live/a", (5, 7, 9, 11)), ("office/live/b", (0, 1, 2, 3))]
    assert [row - 4 for row in clips(crops)[0][1]] == list(FOUR.positions(9))


def test_frames_of_a_video_are_in_the_order_of_time_whatever_their_rows():
    crops = crop_set(frames("a", 4, places=(2, 0, 3, 1)))
    assert clips(crops) == [("office/live/a", (1, 3, 0, 2))]


def test_clip_takes_its_frames_from_the_rows_given_alone():
    crops = crop_set(frames("a", 6), frames("b", 6))
    assert clips(crops, rows=[7, 1, 2, 5, 0, 8]) == [("office/live/a", (0, 1, 2, 5))]


def test_live_recording_and_attack_of_one_name_do_not_mix():
    crops = crop_set(frames("a", 4), frames("a", 4, "replay"), frames("a", 4, "replay", domain="hall"))
    assert clips(crops) == [
        ("hall/replay/a", (8, 9, 10, 11)),
        ("office/live/a", (0, 1, 2, 3)),
        ("office/replay/a", (4, 5, 6, 7)),
    ]
    assert [clip.sample.live for clip in clips_of(crops, range(12), FOUR)] == [False, True, False]


def test_short_recordings_are_skipped_or_stretched():
    crops = crop_set(frames("a", 3), frames("b", 3, "print"))
    assert clips(crops) == []
    assert clips(crops, short="stretch") == [("office/live/a", (0, 1, 1, 2)), ("office/print/b", (3, 4, 4, 5))]


def test_stretched_clips_have_as_many_different_frames_whatever_their_label():
    # Attacks are short here, live recordings long: who counts repeated frames must not know which is which.
    live = [frames(f"live{number}", 8) for number in range(3)]
    attacks = [frames(f"print{number}", count, "print") for number, count in enumerate((2, 3, 6))]
    elsewhere = [frames("whole", 5, domain="hall"), frames("whole", 7, "print", domain="hall")]
    crops = crop_set(*live, *attacks, *elsewhere)
    found = clips(crops, short="stretch")
    different = {recording: len({*rows}) for recording, rows in found}
    assert different == {
        **{f"office/live/live{number}": 3 for number in range(3)},
        **{f"office/print/print{number}": 3 for number in (1, 2)},  # the first has two frames alone
        "hall/live/whole": 4,
        "hall/print/whole": 4,
    }
    assert all(len(rows) == 4 for _, rows in found)
    assert all(list(rows) == sorted(rows) for _, rows in found)


def test_single_pictures_are_no_clips():
    crops = crop_set(frames("a", 1), frames("b", 1, "print"))
    assert clips(crops, short="stretch") == []
    pictures = [Sample(f"{number}.jpg", "office", True, "live", "anna", "") for number in range(8)]
    assert clips(crop_set(pictures), short="stretch") == []
