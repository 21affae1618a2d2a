"""Faces packed for a machine with a GPU, trained on there, and taken back: the whole way on a processor."""

import csv
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig
from liveness_training.data.augment import augment
from liveness_training.data.crops import prepare
from liveness_training.data.simulation.camera import compressed
from liveness_training.models.network import ImageNetwork
from liveness_training.runs.folder import RunFolder
from support.networks import ShortMobileNet
from support.pictures import astronaut

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "recipes" / "gpu"
sys.path[:0] = [str(GPU), str(ROOT / "recipes" / "default")]

import committee  # noqa: E402
import pack as packing  # noqa: E402
import run as gpu_run  # noqa: E402
import take_back  # noqa: E402
from augment import augment as augment_batch  # noqa: E402
from augment import through_jpeg  # noqa: E402
from packed import Pack  # noqa: E402

# A machine with a GPU and nothing of this project's: what a pack is trained with must not ask for these.
_ABSENT = ("pydantic", "sklearn", "scipy", "onnxruntime", "onnx", "yaml", "tqdm", "typer", "tensorboardX", "PIL")
_BLOCKER = f"""
import builtins
whole = builtins.__import__
def without(name, *rest, **options):
    if name.partition(".")[0] in {_ABSENT}:
        raise ModuleNotFoundError(name)
    return whole(name, *rest, **options)
builtins.__import__ = without
"""


def photo(kind, number):
    """The astronaut in another light, a little turned; a print is dull."""
    random = np.random.default_rng(number)
    turned = cv2.warpAffine(
        astronaut(),
        cv2.getRotationMatrix2D((220, 120), random.uniform(-8, 8), 1),
        (512, 400),
        borderMode=cv2.BORDER_REFLECT,
    )
    light = random.uniform(0.9, 1.0) if kind == "live" else random.uniform(0.4, 0.5)
    return np.clip(turned * light, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two domains with attacks and one without, of a few people each."""
    root = tmp_path_factory.mktemp("data")
    rows = []
    for domain, kinds in (("office", ("live", "print")), ("hall", ("live", "print")), ("album", ("live",))):
        for person in range(8 if domain != "album" else 2):
            for kind in kinds:
                path = f"{domain}/{('train', 'train', 'dev', 'test')[person % 4]}/{person}-{kind}.jpg"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                picture = photo(kind, len(rows))
                cv2.imwrite(str(root / path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
                label = "live" if kind == "live" else "spoof"
                rows.append([path, domain, label, kind, f"p{person}", f"p{person}-{kind}"])
    empty = np.full((64, 64, 3), 90, np.uint8)
    cv2.imwrite(str(root / "office/test/empty.jpg"), empty)
    rows.append(["office/test/empty.jpg", "office", "spoof", "print", "p3", ""])
    with (root / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "domain", "label", "attack", "subject", "sequence"], *rows])
    return root


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """The pack of these faces: `context` on all domains, and without `hall`."""
    folder = tmp_path_factory.mktemp("gpu") / "pack"
    options = ["--members", "context", "--kept-out", "hall", "--workers", "1"]
    for setting in ("steps=2", "images_per_domain=2", "warmup_steps=1", "ema_decay=0.5"):
        options += ["--set", setting]
    threads = cv2.getNumThreads()
    call_here(packing, data, folder, *options)
    cv2.setNumThreads(threads)
    return folder


def call_here(script, *arguments):
    """As `call` does, in this process, which has imported PyTorch already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.__file__, *map(str, arguments)])
        script.main()


def call(script, *arguments, path=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), *sys.path])}
    command = [sys.executable, str(GPU / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The results of a call that made both runs, where nothing but PyTorch, NumPy and OpenCV can be imported."""
    absent = tmp_path_factory.mktemp("absent")
    (absent / "sitecustomize.py").write_text(_BLOCKER)
    out, work = tmp_path_factory.mktemp("out"), folder.parent / "work"
    options = ["--work", work, "--minutes", 60, "--lanes", 1, "--device", "cpu", "--views", 2, "--versions", 1]
    command = ["train.py", folder, "--out", out, *options, "--processes", 1]
    told = call(*command, "--most-mb", 8, path=[absent])
    return out, told, lambda again: call(*command[:3], again, *options, "--processes", 1, path=[absent])


@pytest.mark.slow
def test_crops_of_a_pack_are_those_of_the_service(data, folder, tmp_path):
    pack = Pack(folder)
    cut = prepare(data, tmp_path, preprocess=PreprocessSpec(size=160), detector=DetectorSpec(), workers=0)
    assert [sample.key for sample in pack.samples] == [sample.key for sample in cut.samples]
    assert [sample.key for sample in pack.missed] == ["office/office/test/empty.jpg"]
    for row in range(0, len(pack.samples), 7):
        for packed, of_service in zip(pack.crops(row, 2.7, 4, 160), cut.crops_MVSS3[row], strict=True):
            assert np.corrcoef(packed.ravel(), of_service.ravel())[0, 1] > 0.97  # moved by 4 pixels it is 0.9


@pytest.mark.slow
def test_what_is_kept_out_is_not_trained_on(folder):
    pack = Pack(folder)
    runs = {run["name"]: pack.protocol(run["config"]) for run in pack.plan["runs"]}
    assert {*runs} == {"context-all", "context-without-hall"}
    assert {pack.samples[row].domain for row in runs["context-without-hall"].train} == {"office", "album"}
    assert not {*runs["context-all"].train} & {*runs["context-all"].evaluated}


def test_a_batch_is_changed_as_single_pictures_are():
    random = np.random.default_rng(0)
    crop = cv2.resize(astronaut()[40:240, 120:320], (160, 160))
    one_by_one = np.stack([augment(crop, random, 0.2) for _ in range(48)]).astype(float)
    image = torch.from_numpy(crop).permute(2, 0, 1).float().expand(48, 3, 160, 160)
    batch = augment_batch(image, np.random.default_rng(1), 0.2).permute(0, 2, 3, 1).numpy().astype(float)
    assert batch.shape == one_by_one.shape
    assert 0 <= batch.min() < 5
    assert 250 < batch.max() <= 255
    assert abs(batch.mean() - one_by_one.mean()) < 10
    assert 0.8 < batch.std((1, 2, 3)).mean() / one_by_one.std((1, 2, 3)).mean() < 1.2
    grey = [np.ptp(each, axis=2).max() < 8 for each in batch]
    assert 0.05 < np.mean(grey) < 0.45


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_on_a_gpu_is_jpeg(quality):
    crop = cv2.resize(astronaut()[40:240, 120:320], (160, 160))
    expected = compressed(crop, quality).astype(float)
    image = torch.from_numpy(crop).permute(2, 0, 1).float()[None]
    made = through_jpeg(image, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()
    assert np.abs(made - expected).mean() < 1.5
    assert np.abs(made - expected).mean() < 0.5 * np.abs(expected - crop).mean() + 0.5


class TakenAwayError(Exception):
    pass


class Batches:
    """Random pictures; the machine is taken away before iteration `stop`."""

    device = torch.device("cpu")

    def __init__(self, stop=None):
        self._stop, self.first = stop, None

    def __call__(self, start):
        self.first = start
        random = torch.Generator().manual_seed(start)
        for step in itertools.count(start):
            if step == self._stop:
                raise TakenAwayError
            yield torch.randn(8, 3, 32, 32, generator=random), torch.tensor([0, 1] * 4)


def test_a_run_that_was_cut_off_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_run, "_CHECKPOINT_S", 0)
    config = TrainConfig(steps=6, warmup_steps=1, precision="fp32")
    with pytest.raises(TakenAwayError):
        gpu_run.train(Batches(stop=3), network(), config, tmp_path, time.time() + 1000, rows=0)
    again = Batches()
    made = gpu_run.train(again, network(), config, tmp_path, time.time() + 1000, rows=0)
    assert again.first == 3
    assert made["steps"] == 6


def test_a_run_ends_when_its_time_is_over(tmp_path):
    config = TrainConfig(steps=100_000, warmup_steps=1, precision="fp32")
    started = time.time()
    made = gpu_run.train(Batches(), network(), config, tmp_path, started + 3.5, rows=0)
    assert 1 <= made["steps"] < 100_000
    assert all(value.isfinite().all() for value in made["network"].state_dict().values())


def network():
    return ImageNetwork(ShortMobileNet())


@pytest.mark.slow
def test_what_came_back_is_read_as_runs_of_ours(data, folder, trained, tmp_path):
    out, told, again = trained
    runs = tmp_path / "runs"
    assert "context-without-hall: 2 steps" in told
    call_here(take_back, folder, out, runs)
    for name in ("context-all", "context-without-hall"):
        assert "test/office" in RunFolder.read(runs / name).metrics()
    kept_out = RunFolder.read(runs / "context-without-hall").metrics()["held_out/hall"]
    assert kept_out["presentations"] == 16
    assert 0 <= kept_out["auc"] <= 1
    # 8 MB take the weights of one run: the other's come with the next call, which trains nothing again.
    assert (runs / "context-all" / "weights.pt").exists()
    assert not (runs / "context-without-hall" / "weights.pt").exists()
    assert json.loads((folder / "done.json").read_text()) == ["context-all"]
    assert "0 runs to make" in again(tmp_path / "again")
    call_here(take_back, folder, tmp_path / "again", runs)
    network = RunFolder.read(runs / "context-without-hall").network()
    assert all(value.isfinite().all() for value in network.state_dict().values())

    # the committee reads them beside scores of a published member
    pack = Pack(folder)
    paths = [sample.path for sample in pack.samples]
    np.savez(tmp_path / "public.npz", path=np.array(paths), other=np.zeros(len(paths)))
    call_here(take_back, folder, out, runs)
    copy_of_other_domain(runs)
    faces = committee.read_faces(data, tmp_path / "public.npz", runs)
    assert faces.members == ("other", "context")
    assert {*faces.domain.tolist()} == {"hall", "office"}


def copy_of_other_domain(runs):
    """The committee wants a run without each domain; that of the other one is not made here."""
    folder = runs / "context-without-office"
    folder.mkdir()
    text = (runs / "context-without-hall" / "scores.csv").read_text()
    (folder / "scores.csv").write_text(text.replace("test/office", "held_out/office"))
