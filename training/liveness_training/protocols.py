"""Who is trained on, who sets thresholds, who is reported on. Split by person, never by picture."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from liveness_training.data.samples import DataError, Sample

Split = Literal["train", "dev", "test"]

_OFFICIAL: dict[str, Split] = {"train": "train", "devel": "dev", "dev": "dev", "test": "test"}
_DEV_SHARE = 0.15
_TEST_SHARE = 0.30


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the data that figures are given for."""

    rows: tuple[int, ...]
    """Rows of the found samples."""
    missed: tuple[Sample, ...]
    """Pictures of the same part in which no face was found: non-responses."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which rows of the found samples serve what."""

    train: tuple[int, ...]
    dev: tuple[int, ...]
    """Thresholds and temperature are chosen on these."""
    reports: dict[str, Part]
    """Name -> part: `test` (people never trained on, all trained domains), `test/DOMAIN`, `held_out/DOMAIN` (whole)."""

    @property
    def evaluated(self) -> list[int]:
        """The rows that need a score."""
        return sorted({*self.dev, *(row for part in self.reports.values() for row in part.rows)})


def make_protocol(found: Sequence[Sample], missed: Sequence[Sample], hold_out: str | None) -> Protocol:
    """Assign samples to training, development and reports.

    Domains without attacks serve none of them, nor do those without live pictures: their camera would come to mean one
    of the two.

    Args:
        found: samples in which a face was found.
        missed: the others.
        hold_out: domain that is only reported on; None for none.

    Raises:
        DataError: the held-out domain is not there, or nothing is left to train on or to set thresholds on.
    """
    samples = [*found, *missed]
    complete = {sample.domain for sample in samples if sample.live} & {
        sample.domain for sample in samples if not sample.live
    }
    if hold_out is not None and hold_out not in complete:
        known = ", ".join(sorted(complete))
        raise DataError(f"hold_out: no domain with live pictures and attacks is named {hold_out!r}, only {known}")
    splits = {sample.path: split for sample, split in zip(samples, assign_splits(samples), strict=True)}
    _refuse_shared_people(samples, splits)
    trained = complete - {hold_out}

    def rows(wanted: Callable[[Sample], bool]) -> tuple[int, ...]:
        return tuple(row for row, sample in enumerate(found) if wanted(sample))

    def part(wanted: Callable[[Sample], bool]) -> Part:
        return Part(rows(wanted), tuple(sample for sample in missed if wanted(sample)))

    def in_test(sample: Sample) -> bool:
        return sample.domain in trained and splits[sample.path] == "test"

    reports = {"test": part(in_test)}
    for domain in sorted(trained):
        reports[f"test/{domain}"] = part(lambda sample, domain=domain: in_test(sample) and sample.domain == domain)
    if hold_out is not None:
        reports[f"held_out/{hold_out}"] = part(lambda sample: sample.domain == hold_out)
    protocol = Protocol(
        train=rows(lambda sample: sample.domain in trained and splits[sample.path] == "train"),
        dev=rows(lambda sample: sample.domain in trained and splits[sample.path] == "dev"),
        reports=reports,
    )
    for name, chosen in (("training", protocol.train), ("development", protocol.dev)):
        if len({found[row].live for row in chosen}) < 2:
            raise DataError(f"the {name} split lacks live pictures or attacks: add people, or split folders by name")
    return protocol


def _refuse_shared_people(samples: Sequence[Sample], splits: Mapping[str, Split]) -> None:
    home: dict[tuple[str, str], Split] = {}
    for sample in samples:
        split = splits[sample.path]
        first = home.setdefault((sample.domain, sample.subject), split)
        if first != split:
            raise DataError(
                f"{sample.domain}: pictures of {sample.subject!r} are in two splits, {first} and {split}: "
                "keep a person in one folder"
            )


def assign_splits(samples: Sequence[Sample]) -> list[Split]:
    """The split of each sample.

    A domain whose second folder is `train`, `devel`/`dev` or `test` keeps its official splits; where it has no official
    development set, people are taken from its training set for one. Every other domain is split by person: 55 % of the
    people train, 15 % development, 30 % test. People are drawn by a hash of domain and subject, so that a split does
    not move when pictures are added.
    """
    official = [_OFFICIAL.get(_second_folder(sample)) for sample in samples]
    has_dev = {sample.domain for sample, split in zip(samples, official, strict=True) if split == "dev"}
    return [_split(sample, split, sample.domain in has_dev) for sample, split in zip(samples, official, strict=True)]


def _second_folder(sample: Sample) -> str:
    parts = sample.path.split("/")
    return parts[1] if len(parts) > 2 else ""


def _split(sample: Sample, official: Split | None, domain_has_dev: bool) -> Split:
    draw = _draw(sample)
    if official is None:
        if draw < _DEV_SHARE:
            return "dev"
        return "test" if draw < _DEV_SHARE + _TEST_SHARE else "train"
    if official == "train" and not domain_has_dev and draw < _DEV_SHARE:
        return "dev"
    return official


def _draw(sample: Sample) -> float:
    """A number in [0, 1) that depends on domain and person alone."""
    digest = hashlib.sha256(f"{sample.domain}/{sample.subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
