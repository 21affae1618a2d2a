"""Attacks simulated from live pictures: the physics of paper, of a panel and of a second camera; nothing is learned.

Every random value comes from a documented range and from the given generator, so the same seed gives the same picture.
The face keeps its position and size, which must not give an attack away. `liveness-train simulate` shows a sheet of
attacks.
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
"""PAI species -> function from a live crop, shape (S, S, 3), to a crop of an attack with it, same shape."""


def simulate(species: str, crop: Picture, random: np.random.Generator) -> Picture:
    """Simulate an attack with the picture of a live person; returns a crop of the same shape.

    Args:
        species: one of `SIMULATIONS`.
        crop: crop of a live face, shape (S, S, 3), RGB.
        random: generator that every parameter is drawn from.
    """
    attack = SIMULATIONS[species](crop, random)
    if not np.ptp(crop, axis=2).any():
        # A grey source stays grey: otherwise colour would give the attack away in a data set of grey pictures.
        attack = np.repeat(np.rint(attack @ np.array([[0.299], [0.587], [0.114]])), 3, axis=2).astype(np.uint8)
    return attack
