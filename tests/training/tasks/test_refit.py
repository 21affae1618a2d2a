"""The last layer, fitted again."""

import numpy as np
import pytest
import torch

from liveness_training.data.samples import Sample
from liveness_training.errors import TrainingError
from liveness_training.tasks.refit import refitted


def pictures(*groups, seed=0):
    """Groups of (domain, live, centre, number): embeddings about their centres, and samples."""
    random = np.random.default_rng(seed)
    samples, embeddings = [], {}
    for domain, live, centre, count in groups:
        for _ in range(count):
            row = len(samples)
            samples.append(Sample(f"{row}.jpg", domain, live, "live" if live else "print", f"p{row}", ""))
            embeddings[row] = np.float32(np.asarray(centre) + random.normal(0, 0.3, len(centre)))
    return embeddings, samples


def odds(classifier, embedding):
    with torch.no_grad():
        live, spoof = classifier(torch.tensor(embedding, dtype=torch.float32))
    assert live == -spoof
    return float(live - spoof)


def test_labels_are_told_apart_whatever_the_scale_of_an_embedding():
    embeddings, samples = pictures(("a", True, (1.0, 500.0), 50), ("a", False, (-1.0, 500.0), 50))
    found = refitted(embeddings, samples, 0.01)
    right = [(odds(found, embedding) > 0) == samples[row].live for row, embedding in embeddings.items()]
    assert np.mean(right) > 0.98
    shifted = {row: embedding * np.float32([10, 0.1]) for row, embedding in embeddings.items()}
    again = refitted(shifted, samples, 0.01)
    assert odds(again, (10.0, 50.0)) == pytest.approx(odds(found, (1.0, 500.0)), rel=0.02)


def test_groups_count_alike_whatever_their_size():
    few = (("a", True, (1.0, 0.0), 20), ("a", False, (-1.0, 0.5), 20), ("b", True, (0.5, 1.0), 20))
    embeddings, samples = pictures(*few, ("b", False, (0.5, -1.0), 20))
    repeated = dict(embeddings)
    larger = list(samples)
    for row in range(60, 80):  # the last group four times
        for _ in range(3):
            repeated[len(larger)] = embeddings[row]
            larger.append(samples[row])
    # Means and spreads are those of all pictures, so the two are not the same to the last digit.
    plain, uneven = refitted(embeddings, samples, 0.001), refitted(repeated, larger, 0.001)
    for point in ((1.0, 0.0), (0.5, -1.0), (0.0, 0.3)):
        assert odds(uneven, point) == pytest.approx(odds(plain, point), abs=0.5)


def test_domains_of_one_label_do_not_count():
    embeddings, samples = pictures(("a", True, (1.0, 0.0), 30), ("a", False, (-1.0, 0.0), 30))
    more, others = pictures(("only live", True, (-1.0, 0.0), 300))
    joined = {**embeddings, **{row + len(samples): embedding for row, embedding in more.items()}}
    alone, beside = refitted(embeddings, samples, 0.01), refitted(joined, [*samples, *others], 0.01)
    torch.testing.assert_close(alone.weight, beside.weight)
    with pytest.raises(TrainingError, match="no source has both labels"):
        refitted(more, others, 0.01)


def test_a_larger_decay_is_less_sure():
    embeddings, samples = pictures(("a", True, (1.0, 0.0), 30), ("a", False, (-1.0, 0.0), 30))
    sure, doubtful = (odds(refitted(embeddings, samples, decay), (1.0, 0.0)) for decay in (0.001, 1.0))
    assert sure > 2 * doubtful > 0
