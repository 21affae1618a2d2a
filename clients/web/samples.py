"""Make the sample pictures of the page: `python clients/web/samples.py FOLDER`.

The face is scikit-image's astronaut (NASA, public domain); print and screen are simulated from it.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from liveness_training.data.simulation import simulate

# Seeds with which the sheet and the panel can be seen, and which the default bundle does not take for a person. They
# show the page and say nothing of accuracy: of six simulated screens it took three for a person.
_ATTACKS = {"print": ("simulated_print", 0), "screen": ("simulated_replay", 4)}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    person = np.ascontiguousarray(data.astronaut()[:360, 50:410])
    Image.fromarray(person).save(folder / "sample-live.jpg", quality=80, optimize=True)
    for name, (species, seed) in _ATTACKS.items():
        attack = simulate(species, person, np.random.default_rng(seed))
        Image.fromarray(attack).save(folder / f"sample-{name}.jpg", quality=85, optimize=True)
