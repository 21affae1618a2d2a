"""Idiap Replay-Attack (I): 50 people in two lights, attacked by prints, a phone and a tablet; 1,200 videos, 240x320.

How to point it at data: the folder that holds `train`, `devel` and `test`, or the folder that holds the archives' own
top folders `replayattack-train`, `replayattack-devel` and `replayattack-test` with those in them:

    {train,devel,test}/real/clientNNN_session01_webcam_authenticate_{adverse,controlled}_{1,2}.mov
    {train,devel,test}/attack/{fixed,hand}/attack_{print,mobile,highdef}_clientNNN_session01_{highdef,mobile}_{photo,video}_
        {adverse,controlled}.mov

`fixed` and `hand` say how the instrument was held; the second `highdef` or `mobile` which camera took what it shows;
`mobile` and `highdef` after `attack` are a phone's and a tablet's screen. `enroll/` and `face-locations/` are not read.

Traps: the same attack's name is used under `fixed` and under `hand`. People's numbers go to 119, with gaps. The
literature's leave-one-out often leaves `devel` out; here it is the development set.

Cite: I. Chingovska, A. Anjos, S. Marcel, "On the effectiveness of local binary patterns in face anti-spoofing",
BIOSIG 2012.
"""

import re
from pathlib import Path

from liveness_training.data import layout
from liveness_training.data.samples import DataError, Sample, Split

DOMAIN = "replay_attack"

_FOLDERS: dict[str, Split] = {"train": "train", "devel": "dev", "test": "test"}
_NAME = re.compile(
    r"real/(?P<real>client(?P<live>\d{3})_session\d\d_webcam_authenticate_(?:adverse|controlled)_\d)(?i:\.mov)"
    r"|attack/(?P<held>fixed|hand)/(?P<attack>attack_(?P<instrument>print|mobile|highdef)_client(?P<attacked>\d{3})"
    r"_session\d\d_(?P<shown>(?:highdef|mobile)_(?:photo|video))_(?:adverse|controlled))(?i:\.mov)"
)
_EXPECTED = (
    "real/clientNNN_session01_webcam_authenticate_LIGHT_N.mov or "
    "attack/{fixed,hand}/attack_INSTRUMENT_clientNNN_session01_SHOWN_LIGHT.mov"
)


def read(root: Path, protocol: str | None = None) -> list[Sample]:
    """One sample for each video.

    Args:
        root: folder of the data set, see above.
        protocol: must be None.

    Raises:
        DataError: a folder is not there or is there twice, a file does not belong to the set, or a
            protocol is asked for.
    """
    layout.refuse_protocol(DOMAIN, protocol)
    samples = []
    for name, split in _FOLDERS.items():
        folder = _folder(root, name)
        for kind in ("real", "attack"):
            layout.subfolder(folder, kind)
        for path, match in layout.videos(root, folder, _NAME, _EXPECTED):
            if match["real"]:
                sequence = f"{name}_{match['real']}"
                samples.append(Sample(path, DOMAIN, True, "live", match["live"], sequence, split))
                continue
            samples.append(
                Sample(
                    path,
                    DOMAIN,
                    False,
                    "print" if match["instrument"] == "print" else "replay",
                    match["attacked"],
                    f"{name}_{match['held']}_{match['attack']}",
                    split,
                    f"{match['instrument']}_{match['shown']}_{match['held']}",
                )
            )
    return samples


def _folder(root: Path, name: str) -> Path:
    nested = [top / name for top in sorted(root.glob("replayattack-*")) if (top / name).is_dir()]
    if (root / name).is_dir():
        nested.append(root / name)
    if len(nested) > 1:
        raise DataError(f"{nested[0]} and {nested[1]} are both there: keep one copy")
    return nested[0] if nested else layout.subfolder(root, name)
