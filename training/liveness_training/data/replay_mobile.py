"""Replay-Mobile (R): 40 people, a phone's and a tablet's camera, prints and a matte screen; 1,030 videos.

How to point it at data: the folder that holds

    {train,devel,test}/real/clientNNN_session02_authenticate_{mobile,tablet}_{adverse,controlled,diffuse,direct,lateral}.mov
    {train,devel,test}/attack/attack_clientNNN_session01_{print,mattescreen}_{fixed,hand}_{mobile,tablet}_{photo,video}_
        {lighton,lightoff}.mov

`mobile` and `tablet` are the camera. `enroll/` (160 more) and `faceloc/` are not read. Client009 has attacks alone.

Traps: the pictures are stored lying, 1280x720, though everything was taken upright, and the two cameras were turned in
opposite ways, so that the phone's videos come out upside down wherever the tablet's are upright, and so do two of the
tablet's, `client008_session02_authenticate_tablet_{adverse,controlled}`. `turn_deg` is a quarter turn clockwise for the
tablet's (90) and one counter-clockwise for the phone's and those two (270).

This is what the set's publisher documents in its own reader, `bob.db.replaymobile` (`models.py`): it ignores the files'
rotation, transposes every frame, and then reverses the rows of the phone's and of those two. A transpose with its rows
reversed is a quarter turn counter-clockwise. A transpose alone is a quarter turn clockwise and a mirror image; only the
turn is taken over here. It was not measured on the data. The publisher's newer reader, which applies the files' own
rotation, turns none: the files as given out say it themselves, and that wins over `turn_deg`. Look at a few crops of
either camera, above all of copies that were encoded again.

Cite: A. Costa-Pazo, S. Bhattacharjee, E. Vazquez-Fernandez, S. Marcel, "The Replay-Mobile face presentation-attack
database", BIOSIG 2016.
"""

import re
from pathlib import Path

from liveness_training.data import layout
from liveness_training.data.samples import Sample, Split

DOMAIN = "replay_mobile"

_FOLDERS: dict[str, Split] = {"train": "train", "devel": "dev", "test": "test"}
_NAME = re.compile(
    r"real/(?P<real>client(?P<live>\d{3})_session\d\d_authenticate_(?P<by>mobile|tablet)"
    r"_(?:adverse|controlled|diffuse|direct|lateral))(?i:\.mov)"
    r"|attack/(?P<attack>attack_client(?P<attacked>\d{3})_session\d\d_(?P<instrument>print|mattescreen)_(?P<held>fixed|hand)"
    r"_(?P<camera>mobile|tablet)_(?P<shown>photo|video)_(?:lighton|lightoff))(?i:\.mov)"
)
_EXPECTED = (
    "real/clientNNN_session02_authenticate_CAMERA_LIGHT.mov or "
    "attack/attack_clientNNN_session01_INSTRUMENT_HELD_CAMERA_SHOWN_LIGHT.mov"
)
_SPECIES = {None: "live", "print": "print", "mattescreen": "replay"}
_TURNED_TABLET = frozenset(f"client008_session02_authenticate_tablet_{light}" for light in ("adverse", "controlled"))


def read(root: Path, protocol: str | None = None) -> list[Sample]:
    """One sample for each video.

    Args:
        root: folder of the data set, see above.
        protocol: must be None.

    Raises:
        DataError: a folder is not there, a file does not belong to the set, or a protocol is asked for.
    """
    layout.refuse_protocol(DOMAIN, protocol)
    samples = []
    for name, split in _FOLDERS.items():
        folder = layout.subfolder(root, name)
        for kind in ("real", "attack"):
            layout.subfolder(folder, kind)
        for path, match in layout.videos(root, folder, _NAME, _EXPECTED):
            live = match["real"] is not None
            sequence = match["real"] or match["attack"]
            camera = match["by"] or match["camera"]
            samples.append(
                Sample(
                    path,
                    DOMAIN,
                    live,
                    _SPECIES[match["instrument"]],
                    match["live"] or match["attacked"],
                    sequence,
                    split,
                    "" if live else f"{match['instrument']}_{match['shown']}_{match['held']}",
                    turn_deg=270 if camera == "mobile" or sequence in _TURNED_TABLET else 90,
                )
            )
    return samples
