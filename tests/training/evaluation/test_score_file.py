import numpy as np
import pytest

from liveness_training.data.clips import Clip
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Part, Protocol
from liveness_training.data.samples import Sample
from liveness_training.errors import TrainingError
from liveness_training.evaluation.figures import run_report
from liveness_training.evaluation.levels import scored
from liveness_training.evaluation.metrics import auc
from liveness_training.evaluation.score_file import read_scores, write_scores


def sample(number, species, detail=""):
    return Sample(
        f"{number}.jpg", "office, 1", species == "live", species, f"p{number}", f"r{number // 2}", detail=detail
    )


SAMPLES = tuple(sample(number, "live" if number < 6 else "print", "inkjet" * (number >= 6)) for number in range(12))
CROPS = CropSet(SAMPLES, (), np.zeros((12, 1, 8, 8, 3), np.uint8))
SCORES = {row: 1 / (row + 1.7) for row in range(12)}
MISSED = (sample(20, "print"),)
PROTOCOL = Protocol(
    train=(),
    dev=(0, 6),
    reports={
        "test": Part(tuple(range(12)), MISSED),
        "test/office, 1": Part(tuple(range(12)), MISSED),
        "held_out/hall": Part((2, 3, 8, 9), ()),
    },
    sources=("office, 1",),
)


def test_figures_can_be_computed_again_from_the_file(tmp_path):
    clips = {Clip((row, row + 1), SAMPLES[row]): 0.1 * row for row in range(0, 12, 2)}
    write_scores(tmp_path / "scores.csv", SCORES, CROPS, PROTOCOL, clips)
    rows = read_scores(tmp_path / "scores.csv")
    assert {row.part for row in rows} == {"dev", "test/office, 1", "held_out/hall"}
    assert {row.level for row in rows} == {"frame", "video", "clip"}
    report = run_report(SCORES, CROPS, PROTOCOL, clip_scores=clips, replicates=0)
    for level, suffix in (("frame", ""), ("video", "@video"), ("clip", "@clip")):
        part = [row.presentation for row in rows if (row.level, row.part) == (level, "test/office, 1")]
        assert auc(scored(part)) == pytest.approx(report[f"test/office, 1{suffix}"]["auc"])
        assert sum(each.score is None for each in part if not each.sample.live) == (level != "clip")


def test_rows_say_what_was_judged(tmp_path):
    write_scores(tmp_path / "scores.csv", SCORES, CROPS, PROTOCOL)
    rows = read_scores(tmp_path / "scores.csv")
    row = next(row for row in rows if row.presentation.name == "office, 1/8.jpg")
    assert row.presentation.score == SCORES[8]
    about = row.presentation.sample
    assert (about.domain, about.live, about.species, about.detail, about.subject) == (
        "office, 1",
        False,
        "print",
        "inkjet",
        "p8",
    )
    assert {row.level for row in rows} == {"frame", "video"}


def test_missing_or_faulty_file_is_told(tmp_path):
    with pytest.raises(TrainingError, match=r"scores\.csv is missing"):
        read_scores(tmp_path / "scores.csv")
    (tmp_path / "scores.csv").write_text("level,part,name\nframe,dev,x\n")
    with pytest.raises(TrainingError, match="not a table of scores"):
        read_scores(tmp_path / "scores.csv")


def test_scores_that_differ_by_the_least_stay_apart(tmp_path):
    crowded = {row: float(np.nextafter(np.float32(1), np.float32(0)) - row * 1e-9) for row in range(12)}
    write_scores(tmp_path / "scores.csv", crowded, CROPS, PROTOCOL)
    found = [row for row in read_scores(tmp_path / "scores.csv") if (row.level, row.part) == ("frame", "dev")]
    assert [row.presentation.score for row in found] == [crowded[0], crowded[6]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "header lacks level"),
        ("HEADER\nframe,dev,x,hall,live,live,,p,0.5\nframe,dev,x,ha", "line 3 has not as many fields"),
        ("HEADER\nframe,dev,x,hall,live,live,,p,0.5,9\n", "line 2 has not as many fields"),
        ("HEADER\nframe,dev,x,hall,Live,live,,p,0.5\n", "line 2: label is 'Live'"),
        ("HEADER\nimage,dev,x,hall,live,live,,p,0.5\n", "line 2: level is 'image'"),
        ("HEADER\nframe,dev,x,hall,live,live,,p,nan\n", "line 2: score is nan"),
        ("HEADER\nframe,dev,x,hall,live,live,,p,1.5\n", "line 2: score is 1.5"),
        ("HEADER\nframe,dev,x,hall,live,live,,p,high\n", "high"),
    ],
)
def test_faulty_row_is_told_and_never_taken_for_a_non_response(tmp_path, content, told):
    header = "level,part,name,domain,label,species,detail,subject,score"
    (tmp_path / "scores.csv").write_text(content.replace("HEADER", header))
    with pytest.raises(TrainingError, match=told):
        read_scores(tmp_path / "scores.csv")
