import json

import pytest
import torch
from torch import nn

from liveness_training.config import TrainConfig
from liveness_training.loop import WeightAverage, fit, learning_rate_factor


class BrightOrDark(nn.Module):
    """Tells bright images from dark ones; with a batch norm, so that there are buffers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.classifier = nn.Linear(3, 2)
        self.seen = []

    def forward(self, image, label):
        self.seen.append(label.tolist())
        logits = self.classifier(self.norm(image).mean((2, 3)))
        return {
            "loss": nn.functional.cross_entropy(logits, label),
            "accuracy": (logits.argmax(1) == label).float().mean(),
        }


def batches(count, size=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        label = torch.arange(size) % 2
        image = torch.randn(size, 3, 4, 4, generator=random) + 2.0 * (1 - label.float()).view(-1, 1, 1, 1)
        yield image, label


def config(**fields):
    defaults = {"steps": 40, "warmup_steps": 4, "learning_rate": 0.05, "precision": "fp32", "weight_decay": 0.0}
    return TrainConfig(**{**defaults, **fields})


def run(tmp_path, **fields):
    torch.manual_seed(0)
    task = BrightOrDark()
    averaged = fit(task, batches(config(**fields).steps), config(**fields), tmp_path / "log.jsonl")
    return task, averaged, [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trivial_problem_is_learned_in_a_few_steps(tmp_path, precision):
    _, averaged, log = run(tmp_path, precision=precision)
    assert log[-1]["loss"] < 0.1 < 0.4 < log[0]["loss"]
    [(image, label)] = batches(1, size=64, seed=9)
    with torch.no_grad():
        assert averaged(image, label)["accuracy"] > 0.95


def test_log_has_a_line_for_every_tenth_step_and_the_last(tmp_path):
    _, _, log = run(tmp_path, steps=24)
    assert [line["step"] for line in log] == [0, 10, 20, 23]
    assert set(log[0]) == {"step", "lr", "images_per_s", "loss", "accuracy"}
    expected = [0.05 * learning_rate_factor(step, config(steps=24)) for step in (0, 10, 20, 23)]
    assert [line["lr"] for line in log] == pytest.approx(expected)


def test_log_of_an_earlier_run_is_kept(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": -1}\n')
    _, _, log = run(tmp_path, steps=1)
    assert [line["step"] for line in log] == [-1, 0]


def test_every_batch_is_used_once_and_in_order(tmp_path):
    task, _, _ = run(tmp_path, steps=5)
    assert len(task.seen) == 5


def test_same_seed_learns_the_same(tmp_path):
    first, second = run(tmp_path, steps=6)[1], run(tmp_path, steps=6)[1]
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])


def test_result_is_the_average_and_without_averaging_the_last_weights(tmp_path):
    task, averaged, _ = run(tmp_path, ema_decay=0.9, steps=12)
    assert not torch.allclose(averaged.classifier.weight, task.classifier.weight)
    task, averaged, _ = run(tmp_path, ema_decay=0, steps=12)
    for key, value in task.state_dict().items():
        torch.testing.assert_close(averaged.state_dict()[key], value)


def test_result_is_in_evaluation_mode_without_gradients(tmp_path):
    _, averaged, _ = run(tmp_path, steps=2)
    assert not averaged.training
    assert not any(weight.requires_grad for weight in averaged.parameters())


def test_weight_decay_spares_norms_and_biases(tmp_path):
    class Idle(BrightOrDark):
        def forward(self, image, label):
            return {"loss": 0.0 * sum(weight.sum() for weight in self.parameters())}

    torch.manual_seed(0)
    task = Idle()
    nn.init.ones_(task.classifier.weight)
    nn.init.ones_(task.classifier.bias)
    fit(task, batches(10), config(steps=10, weight_decay=0.5), tmp_path / "log.jsonl")
    assert (task.classifier.weight < 0.95).all()
    assert (task.classifier.bias == 1).all()
    assert (task.norm.weight == 1).all()


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


@pytest.mark.parametrize(("steps", "warmup"), [(5, 0), (5, 5), (5, 50), (1, 0)])
def test_learning_rate_of_short_runs_stays_between_0_and_1(steps, warmup):
    factors = [learning_rate_factor(step, config(steps=steps, warmup_steps=warmup)) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
