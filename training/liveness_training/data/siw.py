"""SiW, Spoof in the Wild (S): 165 people, two cameras, prints and four screens; 4,478 videos.

How to point it at data: the folder `SiW_release` or the one that holds it:

    {Train,Test}/{live,spoof}/SSS/SSS-sensor-type-medium-session.mov, e.g. Train/spoof/003/003-1-2-1-1.mov

SSS is the person, sensor 1 or 2 the camera, type 1 live, 2 print, 3 replay, medium which print (1 or 2) or screen
(1 to 4) it is, session 1 or 2. A `.face` file lies beside each (`x1 y1 x2 y2` a line, zeros where there is no face); it
is not always good and not read. Some names have `.m` before the suffix (`153-2-1-1-1.m.mov`).

There is no official development set: `protocols.py` takes some of the training people. The set's protocols 1 to 3 are
not covered: 1 trains on the first 60 frames of a video, 2 and 3 hold out a screen or a species. Without them all videos
are read, as Table 4 of the paper needs.

Not the same as SiW-M and SiW-Mv2, which have other attacks and other names.

Cite: Y. Liu, A. Jourabloo, X. Liu, "Learning deep models for face anti-spoofing: binary or auxiliary supervision",
CVPR 2018.
"""

import re
from pathlib import Path

from liveness_training.data import layout
from liveness_training.data.samples import DataError, Sample, Split

DOMAIN = "siw"

_FOLDERS: dict[str, Split] = {"Train": "train", "Test": "test"}
_NAME = re.compile(r"(live|spoof)/(\d{3})/((\d{3})-[12]-([123])-([1-4])-[12](?:\.m|\(\.m\))?)(?i:\.mov)")
_EXPECTED = "{live,spoof}/SSS/SSS-sensor-type-medium-session.mov"
_SPECIES = {"1": "live", "2": "print", "3": "replay"}


def read(root: Path, protocol: str | None = None) -> list[Sample]:
    """One sample for each video.

    Args:
        root: folder of the data set, see above.
        protocol: must be None.

    Raises:
        DataError: a folder is not there, a file does not belong to the set or lies where its name does not belong, or a
            protocol is asked for.
    """
    layout.refuse_protocol(DOMAIN, protocol)
    top = root / "SiW_release" if (root / "SiW_release").is_dir() else root
    samples = []
    for name, split in _FOLDERS.items():
        folder = layout.subfolder(top, name)
        for kind in ("live", "spoof"):
            layout.subfolder(folder, kind)
        for path, match in layout.videos(root, folder, _NAME, _EXPECTED):
            kind, home, sequence, person, shown, medium = match.groups()
            species = _SPECIES[shown]
            if home != person or (kind == "live") != (species == "live"):
                raise DataError(
                    f"{root / path}: the name says {species} of person {person}, the folder {kind} of {home}"
                )
            detail = "" if species == "live" else f"medium{medium}"
            samples.append(Sample(path, DOMAIN, species == "live", species, person, sequence, split, detail))
    return samples
