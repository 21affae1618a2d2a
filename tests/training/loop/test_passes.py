"""Steps of several passes: SAM and gradient alignment by their definitions, on energies that are counted by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from liveness_training.config import TrainConfig
from liveness_training.data.batch import Batch
from liveness_training.loop.passes import held_statistics
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.tasks.method import LivenessTask
from support.networks import SmallEncoder, random_batch

CENTRES = torch.tensor([[1.0, 0.0], [-2.0, 3.0]])
CURVES = torch.tensor([[1.0, 4.0], [3.0, 0.5]])
START = torch.tensor([0.5, -1.0])
RATE, RHO, ALPHA = 0.1, 0.3, 0.2


class Quadratic(nn.Module):
    """Energy of a picture of domain i: ½ Σ_d curve_id (w_d − centre_id)². A second weight has no part in it."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(START.clone())
        self.idle = nn.Parameter(torch.ones(3))
        self.visited = []

    def forward(self, batch):
        self.visited.append(self.w.detach().clone())
        domain = batch.counted_alone().domain
        return {"loss": (0.5 * CURVES[domain] * (self.w - CENTRES[domain]) ** 2).sum()}

    def advance(self):
        pass


def gradient(w, domains=(0, 1)):
    """Of the mean over a batch with one picture of each of two domains."""
    return sum(CURVES[domain] * (w - CENTRES[domain]) for domain in domains) / 2


def config(**fields):
    defaults = {"steps": 1, "warmup_steps": 0, "learning_rate": RATE, "optimiser": "sgd", "momentum": 0.0}
    fixed = {"weight_decay": 0.0, "precision": "fp32", "device": "cpu", "sharpness_rho": RHO, "alignment_alpha": ALPHA}
    return TrainConfig(**{**defaults, **fixed, "schedule": "constant", **fields})


def pictures(domain):
    domain = torch.tensor(domain)
    return Batch(torch.zeros(len(domain), 3, 1, 1), torch.zeros_like(domain), domain)


def stepped(**fields):
    trainer = Trainer(Quadratic(), config(**fields))
    trainer.fit({"image": [pictures([0, 1])]}, Progress(None, 1))
    return trainer.task


def test_sam_descends_the_gradient_at_the_point_uphill():
    task = stepped(sharpness="sam")
    slope = gradient(START)
    uphill = START + RHO * slope / slope.norm()
    torch.testing.assert_close(task.w.detach(), START - RATE * gradient(uphill))
    torch.testing.assert_close(torch.stack(task.visited), torch.stack([START, uphill]))
    assert task.idle.tolist() == [1, 1, 1]


def test_gradient_alignment_adds_the_gradients_at_one_point_for_each_domain():
    task = stepped(sharpness="gac_fas")
    whole = gradient(START)
    points = []
    for domain in (0, 1):
        slope = gradient(START, (domain,))
        points.append(START + RHO * slope / slope.norm() - ALPHA * whole)
    expected = whole + sum(gradient(point) for point in points) / 2
    torch.testing.assert_close(task.w.detach(), START - RATE * expected)
    torch.testing.assert_close(torch.stack(task.visited), torch.stack([START, START, *points]))


def test_without_a_slope_there_is_no_step():
    for sharpness in ("sam", "gac_fas"):
        trainer = Trainer(Quadratic(), config(sharpness=sharpness))
        with torch.no_grad():
            trainer.task.w.copy_(CENTRES[0])
        trainer.fit({"image": [pictures([0])]}, Progress(None, 1))
        assert trainer.task.w.tolist() == CENTRES[0].tolist()


def trained(encoder, sharpness, accumulation=1, steps=3, **fields):
    made = config(steps=steps, sharpness=sharpness, accumulation=accumulation, sharpness_rho=0.5, **fields)
    torch.manual_seed(0)
    trainer = Trainer(LivenessTask(encoder, 3, made), made)
    trainer.fit({"image": [random_batch(seed=seed) for seed in range(steps)]}, Progress(None, 1))
    return trainer.task


@pytest.mark.parametrize("sharpness", ["sam", "gac_fas"])
def test_a_batch_cut_into_parts_trains_as_the_whole_one(sharpness):
    states = []
    for accumulation in (1, 5):
        torch.manual_seed(1)
        states.append(trained(SmallEncoder(), sharpness, accumulation, dropout=0.0).state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sharpness", ["sam", "gac_fas"])
def test_batch_norms_learn_from_each_batch_once(sharpness):
    norms = []
    for chosen in ("none", sharpness):
        torch.manual_seed(1)
        norms.append(trained(SmallEncoder(norm=True), chosen, steps=1).network.encoder.body[1])
    plain, several = norms
    torch.testing.assert_close(several.running_mean, plain.running_mean)
    torch.testing.assert_close(several.running_var, plain.running_var)
    assert several.momentum == plain.momentum


@pytest.mark.parametrize("sharpness", ["sam", "gac_fas"])
def test_all_passes_draw_the_same_dropout(sharpness):
    drawn = []

    class Drawing(Quadratic):
        def forward(self, batch):
            drawn.append(torch.rand(3).tolist())
            return super().forward(batch)

    made = config(sharpness=sharpness, steps=2)
    Trainer(Drawing(), made).fit({"image": [pictures([0, 1])] * 2}, Progress(None, 1))
    passes = len(drawn) // 2
    assert passes == {"sam": 2, "gac_fas": 4}[sharpness]
    assert drawn == [drawn[0]] * passes + [drawn[-1]] * passes
    assert drawn[0] != drawn[-1]


def test_statistics_are_held_within_the_context_alone():
    norm = nn.BatchNorm2d(2, momentum=0.3)
    with held_statistics(norm):
        norm(torch.ones(4, 2, 3, 3))
        assert norm.running_mean.tolist() == [0, 0]
    norm(torch.ones(4, 2, 3, 3))
    assert norm.running_mean.tolist() == pytest.approx([0.3, 0.3])


def test_a_part_of_a_batch_keeps_its_mask():
    batch = replace(random_batch(images=6), teacher=torch.arange(6.0)).counting(torch.tensor([1, 0, 0, 1, 1, 0]).bool())
    alone = batch.part(2, 6).to(torch.device("cpu")).counted_alone()
    assert alone.teacher.tolist() == [3, 4]
    assert torch.equal(alone.image, batch.image[3:5])
