import json
from itertools import product

import pytest
import torch
from torch import nn

from liveness_training.config import TrainConfig
from liveness_training.data.batch import Batch
from liveness_training.loop import checkpoint
from liveness_training.loop.optimiser import WeightAverage, learning_rate_factor, usable_precision
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer


class BrightOrDark(nn.Module):
    """Tells bright images from dark ones; with a batch norm, so that there are buffers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.classifier = nn.Linear(3, 2)
        self.seen, self.advanced = [], 0

    def forward(self, batch):
        self.seen.append(batch.label.tolist())
        logits = self.classifier(self.norm(batch.image).mean((2, 3)))
        loss = nn.functional.cross_entropy(logits.float(), batch.label, reduction="sum")
        return {"loss": loss, "correct": (logits.argmax(1) == batch.label).sum()}

    def advance(self):
        self.advanced += 1


def batches(count, size=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        label = torch.arange(size) % 2
        image = torch.randn(size, 3, 4, 4, generator=random) + 2.0 * (1 - label.float()).view(-1, 1, 1, 1)
        yield Batch(image, label, torch.zeros_like(label))


def config(**fields):
    defaults = {"steps": 40, "warmup_steps": 4, "learning_rate": 0.05, "precision": "fp32", "weight_decay": 0.0}
    return TrainConfig(**{**defaults, "device": "cpu", **fields})


def run(tmp_path, task=None, streams=None, **fields):
    settings = config(**fields)
    torch.manual_seed(0)
    trainer = Trainer(task or BrightOrDark(), settings)
    with Progress(tmp_path, settings.steps) as progress:
        trainer.fit(streams or {"image": batches(settings.steps)}, progress)
    return trainer, [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


QUICK = {("fp32", "adamw", "sum"), ("fp32", "sgd", "mean"), ("bf16", "sgd", "sum"), ("bf16", "adamw", "mean")}
"""Each pair of two of the three settings, once."""


@pytest.mark.parametrize(
    ("precision", "optimiser", "reduction"),
    [
        pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
        for case in product(("fp32", "bf16"), ("adamw", "sgd"), ("sum", "mean"))
    ],
)
def test_trivial_problem_is_learned_in_a_few_steps(tmp_path, precision, optimiser, reduction):
    rate = 0.05 if optimiser == "adamw" or reduction == "sum" else 0.5
    trainer, log = run(tmp_path, precision=precision, optimiser=optimiser, reduction=reduction, learning_rate=rate)
    assert log[-1]["loss"] < 0.15 < 0.4 < log[0]["loss"]
    [batch] = batches(1, size=64, seed=9)
    with torch.no_grad():
        assert trainer.average.module(batch)["correct"] > 0.95 * 64


def test_log_has_the_learning_rate_of_each_line(tmp_path):
    _, log = run(tmp_path, steps=24)
    assert [line["step"] for line in log] == [0, 10, 20, 23]
    assert set(log[0]) == {"step", "lr", "images_per_s", "loss", "accuracy"}
    expected = [0.05 * learning_rate_factor(step, config(steps=24)) for step in (0, 10, 20, 23)]
    assert [line["lr"] for line in log] == pytest.approx(expected)


def test_streams_take_turns_and_each_batch_is_used_once(tmp_path):
    streams = {"image": batches(3, size=4), "clip": batches(3, size=2)}
    trainer, log = run(tmp_path, streams=streams, steps=3)
    assert [len(labels) for labels in trainer.task.seen] == [4, 2] * 3
    assert trainer.task.advanced == 3
    assert {"loss", "clip/loss"} <= set(log[0])


def test_same_seed_learns_the_same(tmp_path):
    first, second = (run(tmp_path / name, steps=6)[0].average.module.state_dict() for name in ("a", "b"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_result_is_the_average_and_without_averaging_the_last_weights(tmp_path):
    trainer, _ = run(tmp_path / "a", ema_decay=0.9, steps=12)
    assert not torch.allclose(trainer.average.module.classifier.weight, trainer.task.classifier.weight)
    trainer, _ = run(tmp_path / "b", ema_decay=0.0, steps=12)
    for key, value in trainer.task.state_dict().items():
        torch.testing.assert_close(trainer.average.module.state_dict()[key], value)


def test_result_is_in_evaluation_mode_without_gradients(tmp_path):
    averaged = run(tmp_path, steps=2)[0].average.module
    assert not averaged.training
    assert not any(weight.requires_grad for weight in averaged.parameters())


class Idle(BrightOrDark):
    def forward(self, batch):
        return {"loss": 0.0 * sum(weight.sum() for weight in self.parameters())}


def idle():
    task = Idle()
    nn.init.ones_(task.classifier.weight)
    nn.init.ones_(task.classifier.bias)
    return task


def test_adamw_spares_norms_and_biases_from_weight_decay(tmp_path):
    task = run(tmp_path, idle(), steps=10, weight_decay=0.5)[0].task
    assert (task.classifier.weight < 0.95).all()
    assert (task.classifier.bias == 1).all()
    assert (task.norm.weight == 1).all()


def test_sgd_decays_all_weights_as_the_papers_does(tmp_path):
    task = run(tmp_path, idle(), steps=10, weight_decay=0.5, optimiser="sgd")[0].task
    assert (task.classifier.weight < 0.95).all()
    assert (task.norm.weight < 0.95).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch.compile against torch itself
def test_compiled_task_learns_the_same(tmp_path, monkeypatch):
    from torch._inductor import config as inductor
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        pytest.skip(f"torch.compile finds no compiler here: {error}")
    plain = run(tmp_path / "plain", SmallTask(), steps=3)[1]
    # Only larger networks gain by processes that compile side by side, each of which imports PyTorch, and by vectors,
    # for which PyTorch compiles a program for each kind that the processor may have.
    monkeypatch.setattr("torch._inductor.cpu_vec_isa.valid_vec_isa_list", list, raising=False)
    with inductor.patch(compile_threads=1):
        compiled = run(tmp_path / "compiled", SmallTask(), steps=3, compile=True)[1]
    assert [line["loss"] for line in compiled] == pytest.approx([line["loss"] for line in plain], rel=1e-3)


class SmallTask(BrightOrDark):
    """Without Python side effects, which a compiled graph does not have."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.classifier = nn.Linear(3, 2)

    def forward(self, batch):
        logits = self.classifier(self.norm(batch.image).mean((2, 3)))
        return {"loss": nn.functional.cross_entropy(logits.float(), batch.label, reduction="sum")}


def test_average_follows_the_formula():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0.0)
    average = WeightAverage(module, decay=0.5)
    expected = 0.0
    for update, value in enumerate((1.0, 2.0, -4.0, 3.0), start=1):
        nn.init.constant_(module.weight, value)
        average.update(module)
        decay = min(0.5, update / (update + 9))
        expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)


def test_average_holds_little_of_the_initial_weights_after_few_steps():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 100.0)
    average = WeightAverage(module, decay=0.999)
    nn.init.constant_(module.weight, 0.0)
    for _ in range(10):
        average.update(module)
    assert abs(average.module.weight.item()) < 0.1


def test_average_covers_buffers_and_copies_counters():
    module = nn.BatchNorm2d(2)
    average = WeightAverage(module, decay=0.9)
    module.running_mean.fill_(10.0)
    module.num_batches_tracked.fill_(7)
    average.update(module)
    assert average.module.running_mean.tolist() == pytest.approx([9.0, 9.0])
    assert average.module.num_batches_tracked == 7


def test_average_does_not_share_memory_with_the_module():
    module = nn.Linear(2, 2)
    average = WeightAverage(module, decay=0.9)
    before = average.module.weight.clone()
    nn.init.constant_(module.weight, 5.0)
    assert torch.equal(average.module.weight, before)


def test_learning_rate_warms_up_and_falls_to_nothing():
    settings = config(steps=100, warmup_steps=10)
    factors = [learning_rate_factor(step, settings) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[-1] < 0.001
    assert learning_rate_factor(100, settings) == pytest.approx(0)


def test_constant_learning_rate_stays_after_the_warm_up():
    settings = config(steps=20, warmup_steps=2, schedule="constant")
    assert [learning_rate_factor(step, settings) for step in range(20)] == [0.5] + [1.0] * 19


@pytest.mark.parametrize(("steps", "warmup"), [(5, 0), (5, 5), (5, 50), (1, 0)])
def test_learning_rate_of_short_runs_stays_between_0_and_1(steps, warmup):
    factors = [learning_rate_factor(step, config(steps=steps, warmup_steps=warmup)) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize(("supported", "used"), [(True, "bf16"), (False, "fp32")])
def test_a_processor_without_bf16_computes_in_fp32_and_says_so(monkeypatch, caplog, supported, used):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    assert usable_precision("bf16", torch.device("cpu")) == used
    assert ("no bf16" in caplog.text) == (not supported)
    assert usable_precision("bf16", torch.device("cuda")) == "bf16"
    assert usable_precision("fp32", torch.device("cpu")) == "fp32"


def test_latest_state_comes_back_as_it_was(tmp_path):
    for step in (2, 4, 10):
        checkpoint.save(tmp_path / "c", step, {"step": step, "weights": {"a": torch.full((3,), float(step))}})
    state = checkpoint.latest(tmp_path / "c")
    assert state["step"] == 10
    assert state["weights"]["a"].tolist() == [10.0] * 3


def test_the_two_latest_are_kept(tmp_path):
    for step in (999, 1000, 2000):
        checkpoint.save(tmp_path, step, {"step": step})
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint.latest(tmp_path)["step"] == 2000


def test_there_is_none_before_the_first(tmp_path):
    assert checkpoint.latest(tmp_path / "nowhere") is None


def test_damaged_ones_are_skipped_with_a_warning(tmp_path, caplog):
    checkpoint.save(tmp_path, 1, {"step": 1})
    newest = checkpoint.save(tmp_path, 2, {"step": 2})
    content = newest.read_bytes()
    for damaged in (content[:-1], content[:40], b"", content[:-5] + b"x" + content[-4:]):
        newest.write_bytes(damaged)
        caplog.clear()
        assert checkpoint.latest(tmp_path)["step"] == 1
        assert newest.name in caplog.text


def test_what_a_kill_left_half_written_is_never_read(tmp_path):
    checkpoint.save(tmp_path, 1, {"step": 1})
    (tmp_path / "step-00000002.partial").write_bytes(b"half")
    assert checkpoint.latest(tmp_path)["step"] == 1
    checkpoint.save(tmp_path, 2, {"step": 2})
    assert checkpoint.latest(tmp_path)["step"] == 2
