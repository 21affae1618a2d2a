"""CASIA-FASD, also called CASIA-MFSD (C): 50 people, three qualities of camera, three kinds of attack; 600 videos.

How to point it at data: the folder that holds

    train_release/<id>/<k>.avi     ids 1-20
    test_release/<id>/<k>.avi      ids 1-30

k says what is shown: 1, 2, HR_1 are live; 3, 4, HR_2 a warped photo; 5, 6, HR_3 a photo with the eyes cut out; 7, 8,
HR_4 a video on a tablet. The cameras' quality is normal for 1, 3, 5, 7, low for 2, 4, 6, 8 and high for HR_*.

Traps: the ids of the test set begin at 1 again, for other people; here test id n is person n+20. There is no official
development set: `protocols.py` takes some of the training people. HR_1 is live, though some copies that go round as
frames file it under spoof.

Cite: Z. Zhang, J. Yan, S. Liu, Z. Lei, D. Yi, S. Z. Li, "A face antispoofing database with diverse attacks", ICB 2012.
"""

import re
from pathlib import Path

from liveness_training.data import layout
from liveness_training.data.samples import DataError, Sample, Split

DOMAIN = "casia_fasd"

_FOLDERS: tuple[tuple[Split, str, int, int], ...] = (
    ("train", "train_release", 20, 0),
    ("test", "test_release", 30, 20),
)
"""Split, folder, number of people, and what is added to an id to make it unique."""
_NAME = re.compile(r"(\d{1,2})/([1-8]|HR_[1-4])(?i:\.avi)")
_EXPECTED = "<id>/<k>.avi with k of 1 to 8 or HR_1 to HR_4"
_SPECIES = ("live", "warped_print", "cut_print", "replay")


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
    for split, name, people, offset in _FOLDERS:
        for path, match in layout.videos(root, layout.subfolder(root, name), _NAME, _EXPECTED):
            number, shown = int(match[1]), match[2]
            if not 1 <= number <= people:
                raise DataError(f"{root / path}: {name} has the ids 1 to {people}, not {number}")
            person = str(number + offset)
            species, quality = _meaning(shown)
            detail = "" if species == "live" else quality
            samples.append(
                Sample(path, DOMAIN, species == "live", species, person, f"{split}_{person}_{shown}", split, detail)
            )
    return samples


def _meaning(shown: str) -> tuple[str, str]:
    """PAI species and camera quality of a video's name."""
    if shown.startswith("HR_"):
        return _SPECIES[int(shown[-1]) - 1], "high_quality"
    kind, low = divmod(int(shown) - 1, 2)
    return _SPECIES[kind], "low_quality" if low else "normal_quality"
