import numpy as np
import pytest

from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from liveness_training.evaluation.report import as_table, figures, run_report, scored_rows
from liveness_training.protocols import Part, Protocol

SAMPLES = [
    Sample(f"{number}.jpg", "office", species == "live", species, f"p{number}", "")
    for number, species in enumerate(["live", "live", "live", "live", "print", "print", "replay", "replay"])
]
SCORES = dict(enumerate([0.9, 0.8, 0.7, 0.2, 0.75, 0.1, 0.3, 0.1]))
CROPS = CropSet(tuple(SAMPLES), (), np.zeros((8, 1, 32, 32, 3), np.uint8))


def missed(live, attacks):
    species = ["live"] * live + ["print"] * attacks
    return tuple(Sample("m.jpg", "office", name == "live", name, "m", "") for name in species)


def protocol(**reports):
    return Protocol(train=(), dev=(), reports=reports)


def test_rows_are_scored_with_their_truth():
    scored = scored_rows(SCORES, CROPS, [6, 0, 4])
    assert scored.scores_M.tolist() == [0.3, 0.9, 0.75]
    assert scored.live_M.tolist() == [False, True, False]
    assert scored.species_M.tolist() == ["replay", "live", "print"]


def test_figures_by_hand():
    values = figures(scored_rows(SCORES, CROPS, range(8)), 0.5, missed(live=1, attacks=4))
    assert values["images"] == 8
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
    values = figures(scored_rows(SCORES, CROPS, range(8)), 0.95, ())
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
    assert report["test"]["images"] == 8
    assert report["good"]["images"] == 3
    assert report["good"]["auc"] == 1
    assert report["good"]["hter_realistic"] == 0
    assert report["good"]["apnrr"] == 0.5


@pytest.mark.parametrize("rows", [(), (0, 1), (4, 5)])
def test_part_without_both_labels_has_no_figures(rows):
    assert run_report(SCORES, CROPS, protocol(test=Part(rows, ())), threshold=0.5) == {}


def test_table_shows_percent():
    report = run_report(SCORES, CROPS, protocol(test=Part(tuple(range(8)), missed(1, 4))), threshold=0.5)
    header, line = as_table(report).splitlines()
    shown = dict(zip(header.split(), line.split(), strict=True))
    assert shown["protocol"] == "test"
    assert shown["images"] == "8"
    assert shown["auc"] == "81.25"
    assert shown["hter_realistic"] == "25.00"
    assert shown["apnrr"] == "50.00"
    assert shown["bpnrr"] == "20.00"
