"""Attacks simulated from live pictures: what paper, a panel and a second camera do to a face, by physics, not learned.

Everything random is drawn from a documented range by the generator that is given, so a seed gives a picture again. The
face keeps its place and size: it must not be told by those. `liveness-train simulate` shows a sheet of them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from liveness_core.types import Picture
from liveness_training.data.simulation.prints import simulate_print
from liveness_training.data.simulation.screens import simulate_screen

SIMULATIONS: Mapping[str, Callable[[Picture, np.random.Generator], Picture]] = MappingProxyType(
    {"simulated_print": simulate_print, "simulated_replay": simulate_screen}
)
"""PAI species -> from a live crop (S, S, 3) to one of an attack with it, same shape."""


def simulate(species: str, crop: Picture, random: np.random.Generator) -> Picture:
    """An attack with a live person's picture.

    Args:
        species: one of `SIMULATIONS`.
        crop: of a live face, shape (S, S, 3), RGB.
        random: where every parameter is drawn from.
    """
    attack = SIMULATIONS[species](crop, random)
    if not np.ptp(crop, axis=2).any():
        # A grey source stays grey: else colour would tell the attack in a data set of grey pictures.
        attack = np.repeat(np.rint(attack @ np.array([[0.299], [0.587], [0.114]])), 3, axis=2).astype(np.uint8)
    return attack
