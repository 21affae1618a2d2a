import numpy as np
import pytest
import torch

from liveness_training.data.crops import CropSet
from liveness_training.data.samples import Sample
from support import networks


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    # The networks here are tiny; threads only wait for each other, and for whatever else the machine does.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def short_networks():
    """Runs of the module train a short network."""
    with networks.short_networks():
        yield


@pytest.fixture(scope="session")
def operators_are_read_once():
    with networks.operators_read_once():
        yield


@pytest.fixture(scope="session")
def crops():
    """Two domains of 20 people; live is bright, attacks are dark."""
    samples, pictures = [], []
    random = np.random.default_rng(0)
    for domain in ("office", "hall"):
        for person in range(20):
            for species in ("live", "print"):
                path = f"{domain}/x/p{person}/{species}.jpg"
                samples.append(Sample(path, domain, species == "live", species, f"p{person}", ""))
                low = 130 if species == "live" else 20
                pictures.append(random.integers(low, low + 90, (2, 32, 32, 3), dtype=np.uint8))
    missed = (Sample("hall/x/p1/lost.jpg", "hall", False, "print", "p1", ""),)
    return CropSet(tuple(samples), missed, np.stack(pictures))
