"""The energies of the paper, Eq. (1) and (2), and where their gradients go."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from liveness_training.config import TrainConfig
from liveness_training.data.batch import Batch
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.tasks.energies import distillation_energy
from liveness_training.tasks.method import LivenessTask
from support.networks import SmallEncoder, random_batch

K = 3
PARTS = [{"dib": True}, {"dis": True}, {"dis": True, "dib": True}, {"single_side": True}]


def settings(**fields):
    return TrainConfig(**{"dropout": 0.0, "discriminator_dropout": 0.0, "label_smoothing": 0.0, **fields})


def task(seed=0, **fields):
    torch.manual_seed(seed)
    return LivenessTask(SmallEncoder(), K, settings(**fields))


def gradients(module, value):
    module.zero_grad()
    value.backward()
    return {name: None if weight.grad is None else weight.grad.clone() for name, weight in module.named_parameters()}


def entropy(logits, target):
    """Cross-entropy of one example, by hand."""
    return torch.logsumexp(logits, 0) - logits[target]


def domain_gradients(made, batch):
    """Gradients of the domain terms alone."""
    losses = made(batch)
    logits = made.network(batch.image) if batch.image.ndim == 4 else made.temporal(_embeddings(made, batch))
    return gradients(made, losses["loss"] - nn.functional.cross_entropy(logits, batch.label, reduction="sum"))


def _embeddings(made, batch):
    return torch.stack([made.network.encoder(clip)[0] for clip in batch.image])


class TestEnergies:
    def test_images_give_equation_1(self):
        made, batch = task(dib=True, lambda_ib=0.7), random_batch()
        expected = torch.zeros(())
        embedding, _ = made.network.encoder(batch.image)
        ccdd = made.image_domains.ccdd
        for feature, label, domain in zip(embedding, batch.label, batch.domain, strict=True):
            head = ccdd.live_head if label == 0 else ccdd.spoof_head
            expected += entropy(made.network.classifier(feature), label)
            expected += 0.7 * entropy(head(ccdd.trunk(feature)), domain)
        torch.testing.assert_close(made(batch)["loss"], expected)

    def test_with_patch_labels_every_place_of_the_picture_learns_the_label(self):
        made, batch = task(patch_labels=True), random_batch()
        _, features = made.network.encoder(batch.image)
        expected = torch.zeros(())
        for picture, label in zip(features, batch.label, strict=True):
            places = picture.flatten(1).T
            expected += sum(entropy(made.network.classifier(place), label) for place in places) / len(places)
        assert features.shape[2] * features.shape[3] > 1
        torch.testing.assert_close(made(batch)["loss"], expected)

    def test_clips_give_equation_2(self):
        made, batch = task(lstm=True, dvb=True, lambda_vb=0.3), random_batch(images=6, frames=8)
        expected = torch.zeros(())
        ccdd = made.clip_domains.ccdd
        for clip, label, domain in zip(batch.image, batch.label, batch.domain, strict=True):
            embeddings, _ = made.network.encoder(clip)
            states, _ = made.temporal.lstm(embeddings[None])
            last = states[0, -1]
            head = ccdd.live_head if label == 0 else ccdd.spoof_head
            expected += entropy(made.temporal.classifier(last), label)
            expected += 0.3 * entropy(head(ccdd.trunk(last)), domain)
        torch.testing.assert_close(made(batch)["loss"], expected)

    def test_plain_discriminator_adds_its_sum_over_both_classes(self):
        made, batch = task(dis=True), random_batch()
        embedding, _ = made.network.encoder(batch.image)
        expected = sum(
            entropy(made.network.classifier(feature), label)
            + entropy(made.image_domains.dis.head(made.image_domains.dis.trunk(feature)), domain)
            for feature, label, domain in zip(embedding, batch.label, batch.domain, strict=True)
        )
        torch.testing.assert_close(made(batch)["loss"], expected)

    def test_log_tells_the_terms_apart_and_counts_what_is_right(self):
        made, batch = task(dis=True, dib=True), random_batch()
        losses = made(batch)
        parts = losses["class"] + losses["dis"] + losses["live_domain"] + losses["spoof_domain"]
        torch.testing.assert_close(losses["loss"].detach(), parts)
        for name in ("correct", "dis_correct", "ccdd_correct"):
            assert 0 <= int(losses[name]) <= len(batch)

    def test_distillation_adds_the_distance_to_the_teachers_odds(self):
        made, batch = task(distillation=0.7, distillation_temperature=2.0), random_batch()
        teacher = torch.linspace(-3, 3, len(batch))
        plain = made(batch)["loss"]
        logits = made.network(batch.image)
        expected = torch.zeros(())
        for (live, spoof), odds in zip(logits, teacher, strict=True):
            student, target = torch.sigmoid((live - spoof) / 2), torch.sigmoid(odds / 2)
            divergence = target * (target / student).log() + (1 - target) * ((1 - target) / (1 - student)).log()
            expected += 0.7 * 4 * divergence
        losses = made(replace(batch, teacher=teacher))
        torch.testing.assert_close(losses["loss"], plain + expected)
        torch.testing.assert_close(0.7 * losses["distilled"], expected.detach())

    def test_scores_of_the_teacher_on_the_wrong_side_of_the_label_may_be_left_out(self):
        made, batch = task(distillation=1.0, distillation_of="right"), random_batch()
        side = torch.where(batch.label == 0, 2.0, -2.0)
        right = torch.arange(len(batch)) % 3 > 0
        teacher = torch.where(right, side, -side)
        found = made(replace(batch, teacher=teacher))["distilled"]
        alone = distillation_energy(made.network(batch.image)[right].detach(), teacher[right], 2.0)
        torch.testing.assert_close(found, alone)

    def test_a_distillation_head_leaves_the_classifier_to_the_labels(self):
        made, batch = task(distillation=1.0, distillation_share=0.25), random_batch()
        teacher = torch.linspace(-3, 3, len(batch))
        losses = made(replace(batch, teacher=teacher))
        losses["distilled"] = distillation_energy(
            made.distillation_head(made.network.encoder(batch.image)[0]), teacher, 2.0
        )
        losses["distilled"].backward()
        assert made.network.classifier.weight.grad is None
        assert made.distillation_head.weight.grad.abs().sum() > 0
        assert all(weight.grad is not None for weight in made.network.encoder.parameters())

    def test_both_classifiers_score_by_their_shares(self):
        made, batch = task(distillation=1.0, distillation_share=0.25), random_batch()
        embedding = made.network.encoder(batch.image)[0]
        labels, head = made.network.classifier(embedding), made.distillation_head(embedding)
        torch.testing.assert_close(made.scoring_network()(batch.image), 0.75 * labels + 0.25 * head)

    def test_distillation_of_its_own_odds_costs_nothing(self):
        made, batch = task(distillation=1.0), random_batch()
        logits = made.network(batch.image).detach()
        losses = made(replace(batch, teacher=logits[:, 0] - logits[:, 1]))
        assert abs(float(losses["distilled"])) < 1e-4

    def test_clips_need_a_temporal_head(self):
        batch = random_batch(images=2, frames=8)
        with pytest.raises(ValueError, match="lstm"):
            task()(batch)


class TestGradients:
    @pytest.mark.parametrize("parts", [*PARTS, {"lstm": True, "dvb": True}])
    @pytest.mark.parametrize("factor", [-0.2, -1.0])
    def test_encoder_gets_the_domain_losses_gradient_times_the_factor(self, parts, factor):
        clips = "dvb" in parts
        made, batch = task(**parts, grl_factor=factor), random_batch(frames=8 if clips else 0)
        straight_made = copy.deepcopy(made)
        (straight_made.clip_domains if clips else straight_made.image_domains).reversal = nn.Identity()
        reversed_, straight = domain_gradients(made, batch), domain_gradients(straight_made, batch)
        seen = {"network.encoder": 0, "temporal.lstm": 0, "domains": 0}
        for name, gradient in straight.items():
            if name.startswith(("network.encoder", "temporal.lstm")):
                assert gradient.abs().max() > 1e-5
                torch.testing.assert_close(reversed_[name], factor * gradient, rtol=1e-3, atol=1e-5)
            elif "domains" in name:
                torch.testing.assert_close(reversed_[name], gradient, rtol=1e-4, atol=1e-6)
            for part in seen:
                seen[part] += part in name
        assert seen["network.encoder"]
        assert seen["domains"]
        assert bool(seen["temporal.lstm"]) is clips

    @pytest.mark.parametrize(
        ("label", "idle", "busy"), [(0, "spoof_head", "live_head"), (1, "live_head", "spoof_head")]
    )
    @pytest.mark.parametrize("frames", [0, 8])
    def test_each_class_head_gets_gradient_from_its_class_alone(self, label, idle, busy, frames):
        parts = {"lstm": True, "dvb": True} if frames else {"dib": True}
        made, batch = task(**parts), random_batch(images=6, frames=frames)
        batch = Batch(batch.image, torch.full_like(batch.label, label), batch.domain)
        found = gradients(made, made(batch)["loss"])
        heads = {name: gradient for name, gradient in found.items() if "head" in name}
        assert all(gradient.abs().max() > 0 for name, gradient in heads.items() if busy in name)
        assert all(gradient is None or not gradient.any() for name, gradient in heads.items() if idle in name)

    def test_head_of_a_class_is_not_moved_by_the_other_classes_images(self):
        made, batch = task(dib=True), random_batch()
        full = gradients(made, made(batch)["loss"])
        live = batch.label == 0
        alone = gradients(made, made(Batch(batch.image[live], batch.label[live], batch.domain[live]))["loss"])
        for name in ("image_domains.ccdd.live_head.weight", "image_domains.ccdd.live_head.bias"):
            torch.testing.assert_close(full[name], alone[name])

    def test_clips_train_the_shared_encoder(self):
        made, batch = task(lstm=True), random_batch(images=6, frames=8)
        found = gradients(made, made(batch)["loss"])
        assert all(found[name].any() for name in found if name.startswith("network.encoder"))
        assert found["network.classifier.weight"] is None


@pytest.mark.parametrize(
    ("off", "optimiser"),
    [
        ({"grl_factor": 0.0}, "adamw"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ({"grl_factor": 0.0}, "sgd"),
                ({"lambda_ib": 0.0, "lambda_vb": 0.0}, "sgd"),
                ({"lambda_ib": 0.0, "lambda_vb": 0.0}, "adamw"),
            )
        ),
    ],
)
def test_without_its_influence_training_equals_the_baseline_exactly(off, optimiser):
    """With dropout on, so that the discriminators must not disturb its draws either."""
    fields = {
        "dropout": 0.3,
        "discriminator_dropout": 0.5,
        "steps": 5,
        "precision": "fp32",
        "optimiser": optimiser,
        "learning_rate": 0.01,
        "lstm": True,
    }
    batches = {
        "image": [random_batch(seed=seed) for seed in range(5)],
        "clip": [random_batch(images=6, frames=8, seed=9 + seed) for seed in range(5)],
    }
    trained = {}
    for name, parts in (("baseline", {}), ("off", {"dis": True, "dib": True, "dvb": True, **off})):
        trainer = Trainer(task(**fields, **parts), settings(**fields, **parts))
        trainer.fit(batches, Progress(None, 1))
        trained[name] = {
            key: value for key, value in trainer.task.state_dict().items() if key.startswith(("network", "temporal"))
        }
    start = task(**fields).state_dict()
    assert all(torch.equal(value, trained["off"][key]) for key, value in trained["baseline"].items())
    assert not torch.equal(trained["off"]["network.classifier.weight"], start["network.classifier.weight"])


def test_influence_moves_the_encoder_away_from_the_baseline():
    batch = random_batch()
    encoders = []
    for parts in ({}, {"dib": True}):
        fields = {"steps": 1, "precision": "fp32", "optimiser": "sgd", "warmup_steps": 0, **parts}
        trainer = Trainer(task(**fields), settings(**fields))
        trainer.fit({"image": [batch]}, Progress(None, 1))
        encoders.append(trainer.task.network.encoder.body[0].weight)
    assert not torch.equal(*encoders)


def test_checkpoints_name_the_distillation_head_as_earlier_versions_did():
    made = task(distillation=1.0, distillation_share=0.5)
    assert {"marks.weight", "marks.bias"} <= made.state_dict().keys()
    assert list(made.state_dict())[-2:] == ["marks.weight", "marks.bias"]
    assert not any("marks" in name for name in task().state_dict())
