"""The known data sets by name, and how the command line names one."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from liveness_training.data import casia_fasd, layout, msu_mfsd, oulu_npu, replay_attack, replay_mobile, siw
from liveness_training.data.samples import DataError, Sample, read_index


class Reader(Protocol):
    """A function that reads a data set."""

    def __call__(self, root: Path, protocol: str | None = None) -> list[Sample]:
        """One sample for each picture or video; raises DataError where the folder does not follow the layout."""


def _read_index(root: Path, protocol: str | None = None) -> list[Sample]:
    layout.refuse_protocol("index", protocol)
    return read_index(root)


DATASETS: dict[str, Reader] = {
    "index": _read_index,
    oulu_npu.DOMAIN: oulu_npu.read,
    casia_fasd.DOMAIN: casia_fasd.read,
    replay_attack.DOMAIN: replay_attack.read,
    msu_mfsd.DOMAIN: msu_mfsd.read,
    siw.DOMAIN: siw.read,
    replay_mobile.DOMAIN: replay_mobile.read,
}
"""`index` is a folder with an `index.csv`; every other name is a module of this package that documents its layout."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set in a folder."""

    name: str
    """Name of the reader, a key of `DATASETS`."""
    root: Path
    """Folder of the data."""
    protocol: str | None = None
    """Protocol of the data set; None for the whole set."""

    def __str__(self) -> str:
        """The form that `parse_source` reads."""
        return f"{self.name}{f':{self.protocol}' if self.protocol else ''}={self.root}"

    def read(self) -> list[Sample]:
        """Read its samples.

        Raises:
            DataError: the folder does not follow the layout, holds nothing, or lists the same file twice.
        """
        if not self.root.is_dir():
            raise DataError(f"{self.root} does not exist: {self.name} needs the folder of its data")
        samples = _reader(self.name)(self.root, self.protocol)
        if not samples:
            raise DataError(f"{self.root} holds no sample of {self.name}")
        for key, count in Counter(sample.key for sample in samples).items():
            if count > 1:
                raise DataError(f"{self.root}: {key} is there twice: it could land in two splits")
        return samples


def parse_source(text: str) -> Source:
    """Read `FOLDER` (with an `index.csv`), `NAME=FOLDER` or `NAME:PROTOCOL=FOLDER`, e.g. `oulu_npu:3.2=/data/Oulu_NPU`.

    The text before the first `=` is a name unless it holds a slash, so `./a=b` is a folder. A leading `~` is the user's
    home.

    Raises:
        DataError: the name is unknown, or the folder or the protocol is empty.
    """
    before, equals, after = text.partition("=")
    if not equals or "/" in before:
        before, after = "index", text
    name, colon, protocol = before.partition(":")
    _reader(name)
    if not after or (colon and not protocol):
        raise DataError(f"{text!r}: expected FOLDER, NAME=FOLDER or NAME:PROTOCOL=FOLDER")
    return Source(name, Path(after).expanduser(), protocol or None)


def _reader(name: str) -> Reader:
    if name not in DATASETS:
        raise DataError(f"no data set is named {name!r}, only {', '.join(DATASETS)}")
    return DATASETS[name]
