import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.crops import CropSet
from liveness_training.data.samples import DataError
from liveness_training.evaluation.score_file import read_scores
from liveness_training.evaluation.scoring import embed, score_clips, score_frames
from liveness_training.loop.distributed import World
from liveness_training.loop.progress import Progress
from liveness_training.runs.environment import git_commit
from liveness_training.runs.folder import RunError, RunFolder
from liveness_training.runs.train import refuse_to_share
from support import training_run
from support.training_run import SIZE, recordings, run, same, weights

pytestmark = pytest.mark.usefixtures("short_networks")
SPEC = PreprocessSpec(size=SIZE)
TESTS = Path(__file__).resolve().parents[2]


def steps_of(folder):
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    report = run(folder, "hold_out=hall")
    return folder, report


class TestFolder:
    def test_holds_weights_settings_log_figures_and_scores(self, uninterrupted):
        folder, report = uninterrupted
        assert json.loads((folder / "metrics.json").read_text()) == report
        assert {"test", "test/office", "held_out/hall", "held_out/hall@video", "held_out/hall@clip"} <= set(report)
        assert report["held_out/hall"]["presentations"] == 72
        # Whether it has learned its sources at all; no error rate at a threshold that was chosen on the same people.
        assert set(report["dev/office@clip"]) == set(report["dev"]) == {"presentations", "auc", "eer"}
        assert report["dev"] == report["dev/office"]
        assert report["held_out/hall@clip"]["presentations"] == 24
        assert report["held_out/hall"]["apnrr"] == pytest.approx(1 / 37)
        assert steps_of(folder) == list(range(6))
        assert sorted(path.name for path in folder.iterdir()) == [
            "log.jsonl",
            "metrics.json",
            "run.json",
            "scores.csv",
            "tensorboard",
            "weights.pt",
        ]

    def test_settings_say_how_it_was_made(self, uninterrupted):
        settings = json.loads((uninterrupted[0] / "run.json").read_text())
        assert TrainConfig(**settings["config"]).hold_out == ("hall",)
        assert PreprocessSpec(**settings["preprocess"]) == SPEC
        assert DetectorSpec(**settings["detector"]) == DetectorSpec()
        assert settings["git_commit"].removesuffix("-dirty") == git_commit().removesuffix("-dirty")
        assert settings["libraries"]["torch"] == torch.__version__
        assert settings["machine"]["cores"] == os.cpu_count()

    def test_scores_are_those_of_the_saved_weights(self, uninterrupted):
        folder, crops = RunFolder.read(uninterrupted[0]), recordings()
        protocol = folder.protocol(crops)
        embeddings = embed(folder.network(), crops, protocol.evaluated, SPEC)
        frames = score_frames(folder.network(), embeddings)
        clips = score_clips(folder.temporal(), embeddings, folder.clips(crops, protocol.reports["held_out/hall"].rows))
        expected = {crops.samples[row].key: score for row, score in frames.items()}
        expected |= {clip.sample.recording: score for clip, score in clips.items()}
        rows = [row for row in read_scores(uninterrupted[0] / "scores.csv") if row.part == "held_out/hall"]
        for row in rows:
            if row.level != "video" and row.presentation.score is not None:
                assert row.presentation.score == pytest.approx(expected[row.presentation.name], abs=1e-5)
        assert {row.level for row in rows} == {"frame", "video", "clip"}

    def test_another_run_does_not_take_it(self, uninterrupted):
        with pytest.raises(RunError, match="holds a run: --resume"):
            run(uninterrupted[0], "hold_out=hall")

    def test_other_settings_do_not_resume_it(self, uninterrupted):
        with pytest.raises(RunError, match="another value of dropout, learning_rate"):
            run(uninterrupted[0], "hold_out=hall", "learning_rate=0.1", "dropout=0.5", resume=True)

    def test_resuming_a_run_that_has_ended_only_evaluates_it(self, uninterrupted):
        folder, report = uninterrupted
        before = (folder / "weights.pt").stat().st_mtime_ns
        assert run(folder, "hold_out=hall", resume=True) == report
        assert (folder / "weights.pt").stat().st_mtime_ns == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=[] if step == 2 else [pytest.mark.slow]) for step in range(6)]
)
def test_run_killed_at_any_step_and_resumed_ends_with_the_same_weights(uninterrupted, tmp_path, monkeypatch, step):
    told = Progress.iteration

    def dying(self, at, *rest):
        told(self, at, *rest)
        if at == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "iteration", dying)
        with pytest.raises(Killed):
            run(tmp_path / "run", "hold_out=hall")
    report = run(tmp_path / "run", "hold_out=hall", resume=True)
    assert same(weights(tmp_path / "run"), weights(uninterrupted[0]))
    assert report == uninterrupted[1]
    assert steps_of(tmp_path / "run") == list(range(6))


LATER_METHODS = {
    "ssdg": ("single_side=true", "triplet=1", "feature_scale=12", "style_mixing=same_label"),
    "sam": ("sharpness=sam", "style_mixing=cross_domain", "dropout=0.5"),
    "gac_fas": ("sharpness=gac_fas", "patch_labels=true"),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", LATER_METHODS)
def test_methods_after_the_paper_resume_to_the_same_weights(tmp_path, monkeypatch, method):
    settings = ("dib=false", "dvb=false", "lstm=false", "steps=2", "hold_out=hall", *LATER_METHODS[method])
    told = Progress.iteration

    def dying(self, at, *rest):
        told(self, at, *rest)
        if at == 1:  # the checkpoint is that of the first iteration
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "iteration", dying)
        with pytest.raises(Killed):
            run(tmp_path / "run", *settings, "checkpoint_every=1")
    report = run(tmp_path / "run", *settings, resume=True)
    assert run(tmp_path / "whole", *settings) == report
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_settings_that_look_at_whole_batches_refuse_several_processes():
    with pytest.raises(RunError, match="triplet, sharpness: 2 processes cannot share a batch"):
        refuse_to_share(TrainConfig(triplet=1.0).model_copy(update={"sharpness": "gac_fas"}), World(0, 2))
    refuse_to_share(TrainConfig(triplet=1.0), World())
    refuse_to_share(TrainConfig(sharpness="sam"), World(0, 2))


@pytest.mark.slow
def test_process_killed_by_the_system_is_resumed_by_another_one(uninterrupted, tmp_path):
    command = [sys.executable, training_run.__file__, str(tmp_path / "run"), "hold_out=hall"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("checkpoints/step-*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(tmp_path / "run", "hold_out=hall", resume=True)
    assert same(weights(tmp_path / "run"), weights(uninterrupted[0]))
    assert steps_of(tmp_path / "run") == list(range(6))


@pytest.mark.slow
def test_broken_checkpoint_is_skipped_for_the_one_before(uninterrupted, tmp_path, monkeypatch, caplog):
    told = Progress.iteration

    def dying(self, at, *rest):
        told(self, at, *rest)
        if at == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "iteration", dying)
        with pytest.raises(Killed):
            run(tmp_path / "run", "hold_out=hall")
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    run(tmp_path / "run", "hold_out=hall", resume=True)
    assert f"{newest.name} is not whole" in caplog.text
    assert same(weights(tmp_path / "run"), weights(uninterrupted[0]))


WITH_WORKERS = """
import sys
from pathlib import Path
import cv2
import numpy as np
from support.networks import short_networks
from support.pictures import astronaut
from support.training_run import run
cv2.setNumThreads(2)  # whose threads forked workers must not wait for
cv2.GaussianBlur(np.concatenate([astronaut()] * 4), (0, 0), 5)
with short_networks():
    run(Path(sys.argv[1]), "hold_out=hall", "workers=1")
"""


def in_a_fresh_process(script, *arguments):
    paths = [str(Path(training_run.__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_seed_decides_whatever_the_workers(uninterrupted, tmp_path):
    # In a process of its own: forked workers may wait for ever for locks of threads that other tests left in this one.
    done = in_a_fresh_process(WITH_WORKERS, tmp_path / "worker")
    assert done.returncode == 0, done.stderr
    assert same(weights(uninterrupted[0]), weights(tmp_path / "worker"))
    run(tmp_path / "other", "hold_out=hall", "seed=3")
    assert not same(weights(uninterrupted[0]), weights(tmp_path / "other"))


def test_scores_are_of_the_services_view_and_in_any_order(uninterrupted):
    crops, network = recordings(), RunFolder.read(uninterrupted[0]).network()
    rows = [70, 3, *range(10, 79)]  # more than one batch
    scores = score_frames(network, embed(network, crops, rows, SPEC))
    assert list(scores) == list(dict.fromkeys(rows))
    only_first = CropSet(crops.samples, (), crops.crops_MVSS3[:, :1])
    assert score_frames(network, embed(network, only_first, [3], SPEC))[3] == pytest.approx(scores[3], abs=1e-5)
    with torch.no_grad():
        live, spoof = network(torch.from_numpy(SPEC.to_tensor([crops.crops_MVSS3[3, 0]])))[0].tolist()
    assert scores[3] == pytest.approx(1 / (1 + np.exp(spoof - live)), abs=1e-5)


def test_unknown_hold_out_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        run(tmp_path / "a", "hold_out=nowhere")
    assert not (tmp_path / "a").exists()


def test_half_precision_of_gpus_is_refused_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="fp16, which needs a GPU"):
        run(tmp_path / "a", "precision=fp16")


def test_clips_are_needed_for_a_temporal_head(tmp_path):
    with pytest.raises(DataError, match="short_clips=stretch"):
        run(tmp_path / "a", "clip_frames=8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_run_on_a_gpu(tmp_path, precision):
    report = run(tmp_path / "a", "device=cuda", f"precision={precision}", "hold_out=hall")
    assert 0 <= report["held_out/hall"]["auc"] <= 1


def test_what_is_not_a_run_is_told(tmp_path):
    with pytest.raises(RunError, match=r"run\.json is missing"):
        RunFolder.read(tmp_path)
    (tmp_path / "run.json").write_text('{"config": {"stepz": 1}}')
    with pytest.raises(RunError, match="does not belong to this version"):
        RunFolder.read(tmp_path)


FROZEN = ("frozen=true", "dib=false", "dvb=false")


@pytest.fixture(scope="module")
def head_run(uninterrupted, tmp_path_factory):
    """A temporal head trained on the frozen encoder of the first run."""
    folder = tmp_path_factory.mktemp("runs") / "head"
    run(folder, "hold_out=hall", *FROZEN, init=uninterrupted[0])
    return folder


class TestFrozen:
    def test_only_the_head_learns_and_photos_keep_their_scores(self, uninterrupted, head_run):
        first = uninterrupted[0]
        before, after = weights(first), weights(head_run)
        kept = [name for name in after if name.startswith("network.")]
        assert kept
        assert all(torch.equal(before[name], after[name]) for name in kept)
        assert not torch.equal(before["temporal.classifier.weight"], after["temporal.classifier.weight"])
        old, new = (json.loads((folder / "metrics.json").read_text()) for folder in (first, head_run))
        assert {name: old[name] for name in old if "clip" not in name} == {
            name: new[name] for name in new if "clip" not in name
        }

    def test_the_run_says_what_it_started_from(self, head_run):
        started_from = RunFolder.read(head_run).init_run
        assert started_from["config"]["dib"] is True
        assert started_from["git_commit"] == git_commit()

    def test_needs_a_run_to_start_from(self, tmp_path):
        with pytest.raises(RunError, match="--init must name the folder"):
            run(tmp_path / "head", *FROZEN)

    def test_a_run_that_saw_the_held_out_domain_is_refused(self, uninterrupted, tmp_path):
        shutil.copytree(uninterrupted[0], tmp_path / "all")
        settings = json.loads((tmp_path / "all" / "run.json").read_text())
        settings["config"]["hold_out"] = []
        (tmp_path / "all" / "run.json").write_text(json.dumps(settings))
        with pytest.raises(RunError, match="was trained on hall"):
            run(tmp_path / "head", "hold_out=hall", *FROZEN, init=tmp_path / "all")

    def test_a_run_of_another_encoder_is_refused(self, uninterrupted, tmp_path):
        with pytest.raises(RunError, match="encoder"):
            run(tmp_path / "head", "hold_out=hall", "encoder=resnet18", *FROZEN, init=uninterrupted[0])
