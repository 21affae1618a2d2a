"""MSU-MFSD (M), the part that is given out: 35 people, a laptop's and a phone's camera, three attacks; 280 videos.

How to point it at data: the folder that holds

    scene01/real/real_clientNNN_{laptop,android}_SD_scene01.{mov,mp4}
    scene01/attack/attack_clientNNN_{laptop,android}_SD_{ipad_video,iphone_video,printed_photo}_scene01.{mov,mp4}
    train_sub_list.txt, test_sub_list.txt      a person's number a line, in two digits

The laptop's videos are .mov, the phone's .mp4. A `.face` file lies beside each (`frame,x1,y1,x2,y2,eyes`); it is not
read. The lists make the split, 15 people and 20; there is no official development set: `protocols.py` takes some people
of the training set.

Traps: six live videos of the phone (people 003 and 005 to 009) are stored upside down. The files as given out say so
themselves, in their display matrix, so that a reader who applies it needs nothing else; `turn_deg` says it for copies
that have lost it. Some of the laptop's videos have damaged frames.

Cite: D. Wen, H. Han, A. K. Jain, "Face spoof detection with image distortion analysis", IEEE Transactions on
Information Forensics and Security, 2015.
"""

import re
from pathlib import Path

from liveness_training.data import layout
from liveness_training.data.samples import DataError, Sample, Split

DOMAIN = "msu_mfsd"

_LISTS: dict[str, Split] = {"train_sub_list.txt": "train", "test_sub_list.txt": "test"}
_NAME = re.compile(
    r"(?:real/(real)|attack/(attack))_client(\d{3})_(laptop|android)_SD"
    r"(?(2)_(ipad_video|iphone_video|printed_photo))_scene01(?i:\.(mov|mp4))"
)
_EXPECTED = (
    "real/real_clientNNN_CAMERA_SD_scene01 or attack/attack_clientNNN_CAMERA_SD_ATTACK_scene01, "
    ".mov of a laptop and .mp4 of an android"
)
_SUFFIXES = {"laptop": "mov", "android": "mp4"}
_UPSIDE_DOWN = frozenset({3, 5, 6, 7, 8, 9})


def read(root: Path, protocol: str | None = None) -> list[Sample]:
    """One sample for each video.

    Args:
        root: folder of the data set, see above.
        protocol: must be None.

    Raises:
        DataError: a folder or a list is not there, a file does not belong to the set, the lists and the videos name
            other people, or a protocol is asked for.
    """
    layout.refuse_protocol(DOMAIN, protocol)
    splits = _splits(root)
    samples = []
    folder = layout.subfolder(root, "scene01")
    for kind in ("real", "attack"):
        layout.subfolder(folder, kind)
    for path, match in layout.videos(root, folder, _NAME, _EXPECTED):
        _, attack, person, camera, shown, suffix = match.groups()
        if suffix.lower() != _SUFFIXES[camera]:
            raise DataError(f"{root / path}: unknown file; expected .{_SUFFIXES[camera]} of the {camera}")
        if int(person) not in splits:
            raise DataError(f"{root / path}: person {person} is in none of {', '.join(_LISTS)}")
        live = not attack
        samples.append(
            Sample(
                path,
                DOMAIN,
                live,
                "live" if live else _species(shown),
                person,
                Path(path).stem,
                splits[int(person)],
                shown or "",
                turn_deg=180 if live and camera == "android" and int(person) in _UPSIDE_DOWN else 0,
            )
        )
    if absent := sorted(splits.keys() - {int(sample.subject) for sample in samples}):
        raise DataError(f"{folder} holds no video of person {absent[0]:03d}, whom the lists name")
    return samples


def _species(shown: str) -> str:
    return "print" if shown == "printed_photo" else "replay"


def _splits(root: Path) -> dict[int, Split]:
    splits: dict[int, Split] = {}
    for name, split in _LISTS.items():
        path = root / name
        try:
            lines = path.read_text(encoding="utf-8-sig").split()
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist: it says who is in the {split} set") from error
        for line in lines:
            if not line.isdecimal():
                raise DataError(f"{path}: {line!r}, expected the number of a person")
            if int(line) in splits:
                raise DataError(f"{path}: person {line} is listed twice in {' and '.join(_LISTS)}")
            splits[int(line)] = split
    return splits
