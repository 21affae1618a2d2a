"""Oulu-NPU (O): 55 people, six phones, three sessions, two printers and two displays; 4,950 videos.

How to point it at data: the folder that holds these, as the archives unpack, each possibly once more in a folder of the
same name (`Train_files/Train_files/`):

    Train_files/   P_S_UU_F.avi, e.g. 1_1_01_1.avi, each with its eye file P_S_UU_F.txt
    Dev_files/
    Test_files/
    Protocols/     Protocol_1/Train.txt, Dev.txt, Test.txt, and so for 2; Protocol_3/Train_1.txt … Test_6.txt, and 4

P is the phone 1-6, S the session 1-3, UU the person 01-55, F what is shown: 1 live, 2 and 3 the first and the second
printer, 4 and 5 the first and the second display. People 1-20 train, 21-35 develop, 36-55 test.

Protocols: `1` (a new session), `2` (new printer and display), `3.1` to `3.6` (a new phone, one at a time) and `4.1` to
`4.6` (all three at once). They read the lists and keep the videos in them; without a protocol every video is read, and
`Protocols` is not needed. A line of a list is `+1,1_1_01_1`: +1 is live; in Train and Dev -1 is an attack, in Test -1
is a print and -2 a replay. A line that contradicts the file name is refused.

Traps: the error to report is ACER with APCER as the worst of print and replay, for 3 and 4 the mean and the standard
deviation over the six parts. Frames are upright, 1080x1920.

Cite: Z. Boulkenafet, J. Komulainen, L. Li, X. Feng, A. Hadid, "OULU-NPU: A mobile face presentation attack database
with real-world variations", FG 2017.
"""

import re
from pathlib import Path

from liveness_training.data import layout
from liveness_training.data.samples import DataError, Sample, Split

DOMAIN = "oulu_npu"

_FOLDERS: dict[Split, str] = {"train": "Train_files", "dev": "Dev_files", "test": "Test_files"}
_LISTS: dict[Split, str] = {"train": "Train", "dev": "Dev", "test": "Test"}
_NAME = re.compile(r"(?:(?:Train|Dev|Test)_files/)?([1-6]_[1-3]_(\d\d)_([1-5]))(?i:\.avi)")
_EXPECTED = "P_S_UU_F.avi"
_LINE = re.compile(r"([+-]?\d)\s*,\s*(\S+)")
_SHOWN = {
    "1": ("live", ""),
    "2": ("print", "printer1"),
    "3": ("print", "printer2"),
    "4": ("replay", "display1"),
    "5": ("replay", "display2"),
}
PROTOCOLS = ("1", "2", *(f"{number}.{part}" for number in (3, 4) for part in range(1, 7)))


def read(root: Path, protocol: str | None = None) -> list[Sample]:
    """One sample for each video.

    Args:
        root: folder of the data set, see above.
        protocol: `1`, `2`, `3.1` … `3.6`, `4.1` … `4.6`, or None for all videos.

    Raises:
        DataError: a folder or a list is not there, a file does not belong to the set, a list contradicts the videos,
            or there is no such protocol.
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise DataError(f"{DOMAIN} has no protocol {protocol!r}, only {', '.join(PROTOCOLS)}")
    samples = [sample for split in _FOLDERS for sample in _videos(root, split)]
    layout.refuse_twice(root, samples)
    if protocol is None:
        return samples
    listed = _listed(root, protocol, {sample.sequence: sample for sample in samples})
    return [sample for sample in samples if sample.sequence in listed]


def _videos(root: Path, split: Split) -> list[Sample]:
    folder = layout.subfolder(root, _FOLDERS[split])
    samples = []
    for path, match in layout.videos(root, folder, _NAME, _EXPECTED):
        name, person, shown = match.groups()
        if _split_of(int(person)) != split:
            raise DataError(f"{root / path}: person {person} is not one of {_FOLDERS[split]}")
        species, detail = _SHOWN[shown]
        samples.append(Sample(path, DOMAIN, species == "live", species, person, name, split, detail))
    return samples


def _split_of(person: int) -> Split | None:
    if not 1 <= person <= 55:
        return None
    if person <= 20:
        return "train"
    return "dev" if person <= 35 else "test"


def _listed(root: Path, protocol: str, videos: dict[str, Sample]) -> set[str]:
    """The names in the three lists of a protocol, each checked against its video."""
    number, _, part = protocol.partition(".")
    folder = layout.subfolder(root, "Protocols")
    if (folder / "Protocols").is_dir():
        folder /= "Protocols"
    folder = layout.subfolder(folder, f"Protocol_{number}")
    listed: set[str] = set()
    for split, name in _LISTS.items():
        path = folder / (f"{name}_{part}.txt" if part else f"{name}.txt")
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist: protocol {protocol} needs it") from error
        named = [
            _name_in(line, f"{path}, line {row}", split, videos) for row, line in enumerate(lines, 1) if line.strip()
        ]
        if len(named) != len({*named} - listed):
            raise DataError(f"{path}: a video is listed twice in protocol {protocol}")
        if not named:
            raise DataError(f"{path} names no video")
        listed.update(named)
    return listed


def _name_in(line: str, where: str, split: Split, videos: dict[str, Sample]) -> str:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise DataError(f"{where}: {line.strip()!r}, expected a line like +1,1_1_01_1")
    label, name = int(match[1]), match[2]
    if name not in videos:
        raise DataError(f"{where}: {name}.avi is in none of {', '.join(_FOLDERS.values())}")
    sample = videos[name]
    if sample.split != split:
        raise DataError(f"{where}: {name} is no video of {_FOLDERS[split]}, but of {sample.path}")
    if label != _label_of(sample):
        raise DataError(f"{where}: the list says {label:+d}, but {name} shows {sample.species}")
    return name


def _label_of(sample: Sample) -> int:
    if sample.live:
        return 1
    return -2 if sample.split == "test" and sample.species == "replay" else -1
