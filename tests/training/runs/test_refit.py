"""The last layer, changed so that grey pictures get the score of coloured ones."""

import numpy as np
import pytest
import torch

from liveness_core.preprocess import PreprocessSpec
from liveness_training.data.crops import CropSet
from liveness_training.data.protocols import Protocol
from liveness_training.data.samples import Sample
from liveness_training.data.split_crops import SplitCrops
from liveness_training.errors import TrainingError
from liveness_training.models.network import ImageNetwork, LivenessClassifier
from liveness_training.runs.refit import greyed, refit_classifier, refit_to_grey
from support.networks import SmallEncoder

D = 6


def classifier(*weights, bias=0.0):
    made = LivenessClassifier(len(weights))
    with torch.no_grad():
        half = torch.tensor(weights) / 2
        made.weight.copy_(torch.stack([half, -half]))
        made.bias.copy_(torch.tensor([bias / 2, -bias / 2]))
    return made


def odds(of, embedding_MD):
    with torch.no_grad():
        logits_M2 = of(torch.tensor(embedding_MD, dtype=torch.float32))
    return (logits_M2[:, 0] - logits_M2[:, 1]).numpy()


def embeddings(count=400, seed=0):
    """Liveness is in two places, how colourful a picture is in a third: ten for coloured ones and 0 for the grey."""
    random = np.random.default_rng(seed)
    colour_MD = random.normal(size=(count, D)).astype(np.float32)
    colour_MD[:, 2] = 10 + random.normal(size=count) / 10
    grey_MD = colour_MD.copy()
    grey_MD[:, 2] = 0
    return colour_MD, grey_MD


def test_grey_copies_get_the_score_of_the_coloured_picture():
    colour, grey = embeddings()
    given = classifier(1.0, -2.0, 0.8, 0.0, 0.0, 0.0, bias=-8.0)  # no colour, no life
    assert (odds(given, grey) < odds(given, colour) - 7).all()
    changed = refit_classifier(given, colour, grey, 1.0)
    fresh_colour, fresh_grey = embeddings(seed=1)
    assert np.abs(odds(changed, fresh_grey) - odds(changed, fresh_colour)).max() < 0.5
    assert np.abs(odds(changed, fresh_colour) - odds(given, fresh_colour)).max() < 0.5


def test_a_classifier_that_does_not_look_at_colour_stays():
    given = classifier(1.0, -2.0, 0.0, 0.5, 0.0, 0.0, bias=0.3)
    changed = refit_classifier(given, *embeddings(), 1.0)
    torch.testing.assert_close(changed.weight, given.weight)
    torch.testing.assert_close(changed.bias, given.bias)


def test_weight_decides_between_colour_and_grey():
    """Where both cannot be had: grey copies differ in what liveness is told by."""
    colour, grey = embeddings()
    grey[:, 0] *= -1
    given = classifier(1.0, -2.0, 0.0, 0.0, 0.0, 0.0)
    moved = [np.abs(odds(changed, colour) - odds(given, colour)).mean() for changed in _with(given, colour, grey)]
    missed = [np.abs(odds(changed, grey) - odds(given, colour)).mean() for changed in _with(given, colour, grey)]
    assert moved == sorted(moved)
    assert missed == sorted(missed, reverse=True)


def _with(given, colour, grey):
    return [refit_classifier(given, colour, grey, weight) for weight in (0.01, 0.3, 10.0)]


def data_of(pixels, spec):
    """All of these pictures are trained on."""
    samples = tuple(Sample(f"{row}.jpg", "a", True, "live", f"p{row}", "") for row in range(len(pixels)))
    protocol = Protocol(train=tuple(range(len(pixels))), dev=(), reports={}, sources=("a",))
    return SplitCrops(CropSet(samples, (), pixels[:, None]), protocol, spec)


def test_network_is_fitted_to_its_pictures_that_have_colour():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network, spec = ImageNetwork(SmallEncoder()).eval(), PreprocessSpec(size=32)

    def off(classifier_):
        """How far grey copies are from their originals, on average."""
        both = [torch.from_numpy(spec.to_tensor(list(each))) for each in (pixels, map(greyed, pixels))]
        with torch.no_grad():
            colour, grey = (odds(classifier_, network.encoder(images)[0].numpy()) for images in both)
        return np.abs(colour - grey).mean()

    fitted = refit_to_grey(network, data_of(pixels, spec), weight=1.0, seed=1)
    assert off(fitted) < 0.5 * off(network.classifier)
    again = refit_to_grey(network, data_of(pixels, spec), weight=1.0, seed=1)
    assert torch.equal(again.weight, fitted.weight)
    mixed = np.concatenate([pixels, np.stack([greyed(crop) for crop in pixels])])  # what has no colour says nothing
    beside = refit_to_grey(network, data_of(mixed, spec), weight=1.0, seed=1)
    torch.testing.assert_close(beside.weight, fitted.weight)


def test_pictures_without_any_colour_are_refused():
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8), 3, axis=-1)
    network = ImageNetwork(SmallEncoder()).eval()
    with pytest.raises(TrainingError, match="grey_weight: no picture to train on has colour"):
        refit_to_grey(network, data_of(pixels, PreprocessSpec(size=32)), weight=1.0, seed=1)
