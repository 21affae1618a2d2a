"""The asymmetric triplet loss, counted by hand for pictures on a circle."""

import pytest
import torch

from liveness_training.tasks.triplets import asymmetric_triplet_energy

LIVE, SPOOF = 0, 1


def energy(features, labels, domains, margin=0.1):
    return asymmetric_triplet_energy(
        torch.tensor(features, dtype=torch.float32), torch.tensor(labels), torch.tensor(domains), margin
    )


def test_live_pictures_of_two_domains_are_one_class():
    # Squared distances: live to live 2, the first one to the spoof 4, the second one to the spoof 2. So one of two
    # triplets is violated, by the margin.
    found = energy([[1, 0], [0, 1], [-1, 0]], [LIVE, LIVE, SPOOF], [0, 1, 0])
    assert float(found) == pytest.approx(3 * 0.1)


def test_spoofs_are_one_class_within_a_domain_and_strangers_across():
    features, labels = [[1, 0], [0.8, 0.6], [0, 1]], [SPOOF, SPOOF, LIVE]
    # With the margin of 1: [0.4 − 2 + 1]₊ = 0 and [0.4 − 0.8 + 1]₊ = 0.6.
    assert float(energy(features, labels, [0, 0, 0], margin=1.0)) == pytest.approx(3 * 0.6)
    assert float(energy(features, labels, [0, 1, 0], margin=1.0)) == 0  # no two of a class


def test_spoofs_of_another_domain_are_pushed_away_too():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]], requires_grad=True)
    asymmetric_triplet_energy(features, torch.tensor([SPOOF] * 3), torch.tensor([0, 0, 1]), 0.5).backward()
    assert float(-features.grad[2, 1]) > 0  # descending takes it farther from the other two


def test_length_of_the_features_does_not_matter_and_the_energy_grows_with_the_batch():
    features, labels, domains = [[1, 0], [0, 1], [-1, 0]], [LIVE, LIVE, SPOOF], [0, 1, 0]
    once = float(energy(features, labels, domains))
    assert float(energy([[5, 0], [0, 0.1], [-3, 0]], labels, domains)) == pytest.approx(once)
    assert float(energy(features, labels, domains, margin=0.2)) == pytest.approx(2 * once)


def test_equal_pictures_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    found = asymmetric_triplet_energy(features, torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.long), 0.1)
    found.backward()
    assert found.item() == pytest.approx(4 * 0.1)
    assert features.grad.isfinite().all()
