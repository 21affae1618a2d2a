"""Several processes train as one process would with the same batch: batch norms, torchrun, parts of a batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from liveness_training.config import TrainConfig
from liveness_training.errors import TrainingError
from liveness_training.loop.distributed import GlobalBatchNorm2d, World, joined, with_global_batch_norms
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.tasks.method import LivenessTask
from support import several_runs, shared_batch
from support.networks import SmallEncoder, random_batch


@pytest.fixture
def group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_global_batch_norm_equals_a_plain_one_on_the_whole_batch(group):
    plain, ours = nn.BatchNorm2d(4), GlobalBatchNorm2d(4)
    for norm in (plain, ours):
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
            norm.bias.copy_(torch.tensor([0.1, 0.0, -3.0, 1.0]))
    images = [(torch.randn(6, 4, 5, 5) * 3 + 1).requires_grad_() for _ in range(2)]
    copies = [image.detach().clone().requires_grad_() for image in images]
    for image, copy in zip(images, copies, strict=True):
        expected, actual = plain(image), ours(copy)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        expected.pow(3).sum().backward()
        actual.pow(3).sum().backward()
        torch.testing.assert_close(copy.grad, image.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(images[0]), plain.eval()(images[0]))


def test_batch_norms_are_replaced_only_where_there_are_several_processes():
    encoder = SmallEncoder(norm=True)
    assert with_global_batch_norms(encoder, World()) is encoder
    assert not any(isinstance(module, GlobalBatchNorm2d) for module in encoder.modules())
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    replaced = with_global_batch_norms(encoder, World(rank=0, size=2))
    assert any(isinstance(module, GlobalBatchNorm2d) for module in replaced.modules())
    assert replaced.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in replaced.state_dict().items())


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="device=cpu"), joined("cuda"):
        pass


def test_one_process_without_torchrun_is_a_world_of_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as world:
        assert (world.rank, world.size, world.first) == (0, 1, True)
        assert world.total(torch.tensor(3.0)) == 3


def test_replaced_batch_norms_stay_in_their_mode():
    for training in (True, False):
        replaced = with_global_batch_norms(SmallEncoder(norm=True).train(training), World(rank=0, size=2))
        assert all(module.training is training for module in replaced.modules())


def test_on_gpus_batch_norms_become_torchs_own_with_the_same_state():
    encoder = SmallEncoder(norm=True)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    replaced = with_global_batch_norms(encoder, World(rank=0, size=2, device=torch.device("cuda", 0)))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in replaced.modules())
    assert replaced.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in replaced.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, device):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with joined(device) as world:
        assert world.device == torch.device("cuda", 0)
        assert world.total(torch.tensor(3.0, device=world.device)) == 3


TESTS = Path(__file__).resolve().parents[2]


def torchrun(script, processes, *arguments):
    command = [sys.executable, "-W", "error::FutureWarning", "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", script.__file__, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# Dropout is drawn by each process for its part, so it is off where they are compared with one process.
COMPARED = {
    "sum": ["reduction=sum", "dis=true", "learning_rate=0.003"],
    "mean": ["reduction=mean", "dis=true", "learning_rate=0.003"],
    "sam": ["sharpness=sam", "dib=false", "dvb=false", "learning_rate=0.003"],
}
WHOLE = ["steps=3", "checkpoint_every=1"]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """A folder of each run that two processes have made under torchrun, all in one go."""
    folder = tmp_path_factory.mktemp("two")
    runs = [["shared_batch", str(folder / reduction), *arguments] for reduction, arguments in COMPARED.items()]
    whole = folder / "whole"
    runs.append(["training_run", str(whole), *WHOLE])
    runs.append(["copy", str(whole / "weights.pt"), str(folder / "before.pt")])
    runs.append(["training_run", str(whole), *WHOLE, "--resume"])
    done = torchrun(several_runs, 2, json.dumps(runs))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("settings", COMPARED)
def test_two_processes_have_the_loss_curve_and_the_weights_of_one(tmp_path, two_processes, settings):
    """With batch norms, images and clips, both discriminators on clips and images (not with SAM), for several steps."""
    shared_batch.run(tmp_path / "one", *COMPARED[settings])
    (tmp_path / "two").symlink_to(two_processes / settings)
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert len(one) == len(two) == shared_batch.STEPS
    for alone, shared in zip(one, two, strict=True):
        for name in set(alone) - {"images_per_s"}:
            assert shared[name] == pytest.approx(alone[name], rel=1e-4, abs=2e-5), (name, alone["step"])
    left, right = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("one", "two"))
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-3, atol=1e-5)
    assert one[0]["loss"] - one[-1]["loss"] > 0.001  # something was learned meanwhile


@pytest.mark.slow
def test_whole_runs_share_a_folder_and_only_the_first_process_writes(two_processes):
    run = two_processes / "whole"
    assert [line["step"] for line in log(run)] == [0, 1, 2]
    assert (run / "metrics.json").exists()
    assert (run / "weights.pt").read_bytes() == (two_processes / "before.pt").read_bytes()  # though it was resumed


@pytest.mark.parametrize(
    ("reduction", "parts"),
    [("mean", 5), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("sum", 2), ("sum", 5), ("mean", 2)))],
)
def test_a_batch_cut_into_parts_trains_as_the_whole_one(reduction, parts):
    """Of an encoder without batch norms, which see a part at a time."""
    trained = []
    for accumulation in (1, parts):
        config = TrainConfig(
            steps=3,
            precision="fp32",
            dropout=0.0,
            discriminator_dropout=0.0,
            dib=True,
            lstm=True,
            dvb=True,
            optimiser="sgd",
            learning_rate=0.01,
            warmup_steps=0,
            reduction=reduction,
            accumulation=accumulation,
        )
        torch.manual_seed(0)
        trainer = Trainer(LivenessTask(SmallEncoder(), 3, config), config)
        images = [random_batch(seed=seed) for seed in range(3)]
        clips = [random_batch(images=6, frames=8, seed=5 + seed) for seed in range(3)]
        trainer.fit({"image": images, "clip": clips}, Progress(None, 1))
        trained.append(trainer.task.state_dict())
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_have_the_loss_curve_of_one(tmp_path):
    for processes, name in ((2, "two"), (1, "one")):
        assert torchrun(shared_batch, processes, tmp_path / name, "device=cuda").returncode == 0
    for alone, shared in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-2)
