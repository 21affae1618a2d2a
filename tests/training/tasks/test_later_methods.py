"""What `LivenessTask` adds for the methods after the paper: SSDG's parts, and energies of a part of a batch."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from liveness_training.config import TrainConfig
from liveness_training.loop.progress import Progress
from liveness_training.loop.trainer import Trainer
from liveness_training.tasks.method import LivenessTask
from liveness_training.tasks.triplets import asymmetric_triplet_energy
from support.networks import SmallEncoder, random_batch


def settings(**fields):
    return TrainConfig(**{"dropout": 0.0, "discriminator_dropout": 0.0, "label_smoothing": 0.0, **fields})


def task(**fields):
    torch.manual_seed(0)
    return LivenessTask(SmallEncoder(), 3, settings(**fields))


def entropy(logits, target):
    return nn.functional.cross_entropy(logits, target, reduction="sum")


def test_the_single_side_discriminates_domains_of_live_pictures_alone():
    made, batch = task(single_side=True, lambda_ib=0.7), random_batch()
    embedding, _ = made.network.encoder(batch.image)
    live = batch.label == 0
    assert 0 < int(live.sum()) < len(batch)
    domains = entropy(made.image_domains.of_live(embedding[live]), batch.domain[live])
    expected = entropy(made.network.classifier(embedding), batch.label) + 0.7 * domains
    torch.testing.assert_close(made(batch)["loss"], expected)


def test_triplets_are_added_with_their_weight():
    made, batch = task(triplet=0.3, triplet_margin=0.5), random_batch()
    embedding, _ = made.network.encoder(batch.image)
    triplets = asymmetric_triplet_energy(embedding, batch.label, batch.domain, 0.5)
    assert triplets > 0
    losses = made(batch)
    torch.testing.assert_close(
        losses["loss"], entropy(made.network.classifier(embedding), batch.label) + 0.3 * triplets
    )
    torch.testing.assert_close(losses["triplet"], triplets.detach())


def test_with_a_feature_scale_logits_are_that_scale_times_a_cosine():
    made, batch = task(feature_scale=8.0), random_batch()
    plain, _ = made.network.encoder.encoder(batch.image)
    weights = made.network.classifier.weight
    cosines = nn.functional.cosine_similarity(plain[:, None], weights[None], dim=2)
    torch.testing.assert_close(made.network(batch.image), 8 * cosines)


def test_class_weights_keep_length_1_and_no_bias_while_they_learn():
    fields = {"feature_scale": 8.0, "steps": 3, "learning_rate": 0.1, "precision": "fp32", "ema_decay": 0.0}
    trainer = Trainer(task(**fields), settings(**fields))
    before = trainer.task.network.classifier.weight.detach().clone()
    trainer.fit({"image": [random_batch(seed=seed) for seed in range(3)]}, Progress(None, 1))
    classifier = trainer.average.module.scoring_network().classifier
    assert not torch.equal(classifier.weight, before)
    torch.testing.assert_close(classifier.weight.norm(dim=1), torch.ones(2))
    assert not classifier.bias.any()


@pytest.mark.parametrize("parts", [{}, {"dib": True}, {"patch_labels": True}, {"distillation": 1.0}])
def test_energies_of_the_domains_add_up_to_that_of_the_batch(parts):
    made, batch = task(**parts), random_batch()
    if parts.get("distillation"):
        batch = replace(batch, teacher=torch.linspace(-3, 3, len(batch)))
    whole = made(batch)
    domains = [made(batch.counting(batch.domain == domain)) for domain in range(3)]
    for name, value in whole.items():
        torch.testing.assert_close(sum(each[name] for each in domains), value)


def test_style_mixing_changes_training_and_no_score():
    encoder = SmallEncoder()
    encoder.lower_stages = (encoder.body[1],)
    made = LivenessTask(encoder, 3, settings(style_mixing="cross_domain", style_mixing_probability=1.0))
    batch = random_batch()
    plain = LivenessTask(encoder, 3, settings())
    plain.load_state_dict(made.state_dict())
    assert not torch.isclose(made(batch)["loss"], plain(batch)["loss"], rtol=1e-5)
    torch.testing.assert_close(made.eval()(batch)["loss"], plain.eval()(batch)["loss"])
    torch.testing.assert_close(made.train().scoring_network()(batch.image), plain.network(batch.image))
