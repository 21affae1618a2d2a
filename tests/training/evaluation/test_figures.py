from dataclasses import replace

import numpy as np
import pytest

from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Part, Protocol
from liveness_training.data.samples import Sample
from liveness_training.evaluation.figures import as_table, figures, run_report, scored_rows
from liveness_training.evaluation.levels import Presentation

SAMPLES = [
    Sample(f"{number}.jpg", "office", species == "live", species, f"p{number}", "")
    for number, species in enumerate(["live", "live", "live", "live", "print", "print", "replay", "replay"])
]
SCORES = dict(enumerate([0.9, 0.8, 0.7, 0.2, 0.75, 0.1, 0.3, 0.1]))
CROPS = CropSet(tuple(SAMPLES), (), np.zeros((8, 1, 32, 32, 3), np.uint8))


def missed(live, attacks):
    species = ["live"] * live + ["print"] * attacks
    return tuple(Sample(f"m{place}.jpg", "office", name == "live", name, "m", "") for place, name in enumerate(species))


def found(count=8, lost=()):
    judged = [Presentation(SAMPLES[row].key, SAMPLES[row], SCORES[row]) for row in range(count)]
    return [*judged, *(Presentation(sample.key, sample, None) for sample in lost)]


def protocol(dev=(), **reports):
    return Protocol(train=(), dev=dev, reports=reports, sources=("office",))


def test_rows_are_scored_with_their_truth():
    scored = scored_rows(SCORES, CROPS, [6, 0, 4])
    assert scored.scores_M.tolist() == [0.3, 0.9, 0.75]
    assert scored.live_M.tolist() == [False, True, False]
    assert scored.species_M.tolist() == ["replay", "live", "print"]


def test_figures_by_hand():
    values = figures(found(lost=missed(live=1, attacks=4)), 0.5)
    assert values["presentations"] == 8
    assert values["threshold"] == 0.5
    assert values["bpcer"] == 0.25
    assert values["apcer"] == 0.5  # one of two prints, no replay
    assert values["hter_realistic"] == pytest.approx((0.25 + 0.25) / 2)
    assert values["hter_idealised"] == pytest.approx(0.25)
    assert values["eer"] == pytest.approx(0.25)
    assert values["auc"] == pytest.approx((4 + 4 + 3 + 2) / 16)
    assert values["bpnrr"] == pytest.approx(1 / 5)
    assert values["apnrr"] == pytest.approx(4 / 8)


def test_realistic_figures_use_the_threshold_given_and_idealised_ones_their_own():
    values = figures(found(), 0.95)
    assert values["hter_realistic"] == 0.5
    assert values["bpcer"] == 1
    assert values["apcer"] == 0
    assert values["hter_idealised"] == pytest.approx(0.25)
    assert values["bpnrr"] == values["apnrr"] == 0


def test_report_gives_each_part_its_own_rows():
    report = run_report(
        SCORES, CROPS, protocol(test=Part(tuple(range(8)), ()), good=Part((0, 1, 5), missed(0, 1))), threshold=0.5
    )
    assert list(report) == ["test", "good"]
    assert report["test"]["presentations"] == 8
    assert report["good"]["presentations"] == 3
    assert report["good"]["auc"] == 1
    assert report["good"]["hter_realistic"] == 0
    assert report["good"]["apnrr"] == 0.5


@pytest.mark.parametrize("rows", [(), (0, 1), (4, 5)])
def test_part_without_both_labels_has_no_figures(rows):
    assert run_report(SCORES, CROPS, protocol(test=Part(rows, ())), threshold=0.5) == {}


def test_species_have_their_own_apcer_and_bpcer_is_given_at_fixed_ones():
    values = figures(found(), 0.5)
    assert values["apcer/print"] == 0.5
    assert values["apcer/replay"] == 0
    assert values["acer"] == pytest.approx((0.5 + 0.25) / 2)
    assert values["bpcer_at_apcer10"] == values["bpcer_at_apcer1"] == 0.5  # above 0.75, the best print


def test_intervals_hold_the_figures():
    values = figures(found(), 0.5)
    for name in ("auc", "eer", "hter_realistic", "hter_idealised", "apcer", "bpcer", "acer"):
        assert values[f"{name}_low"] <= values[name] <= values[f"{name}_high"]
    assert not any(name.endswith("_low") for name in figures(found(), 0.5, replicates=0))


def test_without_a_threshold_of_other_data_nothing_realistic_is_given():
    values = figures(found(), None)
    assert not {"hter_realistic", "apcer", "bpcer", "acer", "threshold"} & set(values)
    assert {"hter_idealised", "auc", "eer"} <= set(values)


RECORDINGS = tuple(
    Sample(f"{person}-{species}-{n}.jpg", "office", species == "live", species, f"p{person}", f"{person}-{species}")
    for person in range(4)
    for species in ("live", "print")
    for n in range(2)
)
FRAMES = CropSet(RECORDINGS, (), np.zeros((16, 1, 8, 8, 3), np.uint8))
FRAME_SCORES = {row: (0.6 if sample.live else 0.4) + 0.02 * row - 0.15 for row, sample in enumerate(RECORDINGS)}
CLIP_SCORES = {Clip((row, row + 1), RECORDINGS[row]): 0.9 if RECORDINGS[row].live else 0.2 for row in range(0, 16, 2)}


class TestLevels:
    def report(self, dev=tuple(range(8)), clip_scores=CLIP_SCORES, threshold=None):
        made = protocol(dev=dev, **{"held_out/x": Part(tuple(range(8, 16)), ())})
        return run_report(FRAME_SCORES, FRAMES, made, threshold, clip_scores=clip_scores, replicates=0)

    def test_frames_recordings_and_clips_each_have_figures(self):
        report = self.report()
        assert list(report) == ["held_out/x", "held_out/x@video", "held_out/x@clip"]
        assert [values["presentations"] for values in report.values()] == [8, 4, 4]
        assert report["held_out/x@clip"]["auc"] == 1
        assert report["held_out/x@clip"]["threshold"] == pytest.approx(0.9)  # of the development clips

    def test_each_source_counts_the_same_for_the_threshold(self):
        # The office's live and print have 0.9 and 0.7; of the hall there is half as much, with 0.3 and 0.1. Pooled, a
        # threshold of 0.9 would do: it refuses the whole hall, which is a third of the live pictures.
        hall = [replace(sample, domain="hall") for sample in RECORDINGS[8:12]]
        crops = replace(FRAMES, samples=(*RECORDINGS[:8], *hall, *RECORDINGS[12:]))
        scores = {row: (0.9 if sample.live else 0.7) - 0.6 * (8 <= row < 12) for row, sample in enumerate(RECORDINGS)}
        made = protocol(dev=tuple(range(12)), **{"held_out/x": Part(tuple(range(12, 16)), ())})
        assert run_report(scores, crops, made, replicates=0)["held_out/x"]["threshold"] == 0.7

    def test_without_a_temporal_head_there_are_no_clips(self):
        assert list(self.report(clip_scores=None)) == ["held_out/x", "held_out/x@video"]

    def test_each_level_has_its_threshold_from_the_same_level_of_dev(self):
        report = self.report()
        frames = {row: score for row, score in FRAME_SCORES.items() if row < 8}
        assert report["held_out/x"]["threshold"] in frames.values()
        assert report["held_out/x@video"]["threshold"] not in frames.values()

    def test_a_threshold_that_is_given_is_for_frames_alone(self):
        report = self.report(threshold=0.123)
        assert report["held_out/x"]["threshold"] == 0.123
        assert report["held_out/x@video"]["threshold"] != 0.123

    def test_no_realistic_figure_where_dev_has_one_label(self):
        live = tuple(row for row in range(8) if RECORDINGS[row].live)
        report = self.report(dev=live)
        assert all("hter_realistic" not in values and "hter_idealised" in values for values in report.values())


def test_table_shows_percent_with_intervals():
    report = run_report(SCORES, CROPS, protocol(test=Part(tuple(range(8)), missed(1, 4))), threshold=0.5)
    header, line = as_table(report).splitlines()
    assert header.split()[:5] == ["protocol", "count", "auc", "hter_realistic", "hter_idealised"]
    cells = line.split()
    assert cells[:3] == ["test", "8", "81.25"]
    assert cells[3].startswith("[")
    assert cells[4] == "25.00"
    assert cells[-2:] == ["50.00", "20.00"]
