"""Which people are trained on, set thresholds, and are reported on: data are split by person, never by picture."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from liveness_training.data.samples import DataError, Sample, Split

TrainPeople = Literal["train", "all"]
_DEV_SHARE = 0.15
_TEST_SHARE = 0.30


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the data that figures are reported for."""

    rows: tuple[int, ...]
    """Rows of the samples in which a face was found."""
    missed: tuple[Sample, ...]
    """Samples of the part in which no face was found: non-responses."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which samples are trained on, set thresholds, and are reported on, as rows of those with a face."""

    train: tuple[int, ...]
    """Rows to train on."""
    dev: tuple[int, ...]
    """Rows of development people, on which thresholds and temperature are chosen."""
    reports: dict[str, Part]
    """Name -> part: `test` (people never trained on, all sources), `test/DOMAIN`, `held_out/DOMAIN` (whole)."""
    sources: tuple[str, ...]
    """Domains that are trained on; the index of a domain here is its label."""

    @property
    def evaluated(self) -> list[int]:
        """The rows that need a score, in ascending order."""
        return sorted({*self.dev, *(row for part in self.reports.values() for row in part.rows)})


def make_protocol(
    found: Sequence[Sample],
    missed: Sequence[Sample],
    hold_out: Sequence[str] = (),
    *,
    sources: Sequence[str] = (),
    people: TrainPeople = "train",
    live_only: bool = False,
) -> Protocol:
    """Assign samples to training, development and reports.

    Leave-one-domain-out: `hold_out` names the target, the sources are all others. Limited-source: `sources` names the
    few domains to train on as well. Intra-set: `sources` names one domain, and `hold_out` is empty.

    Domains that lack attacks or live pictures are left out, since the network would take their camera for the label.
    Where attacks are simulated, domains of live pictures alone are trained on too, with all their people.

    Args:
        found: samples in which a face was found.
        missed: the other samples.
        hold_out: domains that are only reported on, with all their people.
        sources: domains to train on; where empty, all that are not held out.
        people: which people of the sources to train on. `train` trains on their training people and reports on their
            test people; `all` trains on both, as the cross-domain literature does, and then has nothing to report for
            the sources. Thresholds come from development people in either case.
        live_only: also train on domains without attacks.

    Raises:
        DataError: a domain is missing or both source and target, or nothing is left to train on or to set thresholds
            on.
    """
    samples = [*found, *missed]
    live, attacked = ({sample.domain for sample in samples if sample.live is label} for label in (True, False))
    complete = live & attacked
    alone = live - attacked if live_only else set()
    for field, names, eligible in (("hold_out", hold_out, complete), ("sources", sources, complete | alone)):
        for name in names:
            if name not in eligible:
                known = ", ".join(sorted(eligible))
                raise DataError(f"{field}: no domain with live pictures and attacks is named {name!r}, only {known}")
    if both := sorted({*hold_out} & {*sources}):
        raise DataError(f"sources: {both[0]} is held out as well; a domain is one or the other")
    splits = {sample.key: split for sample, split in zip(samples, assign_splits(samples), strict=True)}
    _refuse_shared_people(samples, splits)
    trained = ({*sources} if sources else complete - {*hold_out}) & complete
    if sources:
        alone &= {*sources}

    def rows(wanted: Callable[[Sample], bool]) -> tuple[int, ...]:
        return tuple(row for row, sample in enumerate(found) if wanted(sample))

    def part(wanted: Callable[[Sample], bool]) -> Part:
        return Part(rows(wanted), tuple(sample for sample in missed if wanted(sample)))

    def in_split(sample: Sample, split: Split) -> bool:
        return sample.domain in trained and splits[sample.key] == split

    def of_domain(domain: str, sample: Sample) -> bool:
        return sample.domain == domain

    def of_test_people(domain: str, sample: Sample) -> bool:
        return of_domain(domain, sample) and in_split(sample, "test")

    reports = {}
    if people == "train":
        reports["test"] = part(lambda sample: in_split(sample, "test"))
        for domain in sorted(trained):
            reports[f"test/{domain}"] = part(partial(of_test_people, domain))
    for domain in sorted({*hold_out}):
        reports[f"held_out/{domain}"] = part(partial(of_domain, domain))
    trained_splits: tuple[Split, ...] = ("train",) if people == "train" else ("train", "test")
    protocol = Protocol(
        train=rows(lambda sample: sample.domain in alone or any(in_split(sample, split) for split in trained_splits)),
        dev=rows(lambda sample: in_split(sample, "dev")),
        reports=reports,
        sources=tuple(sorted(trained | alone)),
    )
    for name, chosen in (("training", protocol.train), ("development", protocol.dev)):
        if len({found[row].live for row in chosen}) < 2:
            raise DataError(f"the {name} split lacks live pictures or attacks: add people, or split folders by name")
    return protocol


def _refuse_shared_people(samples: Sequence[Sample], splits: Mapping[str, Split]) -> None:
    home: dict[tuple[str, str], Split] = {}
    for sample in samples:
        split = splits[sample.key]
        first = home.setdefault((sample.domain, sample.subject), split)
        if first != split:
            raise DataError(
                f"{sample.domain}: pictures of {sample.subject!r} are in two splits, {first} and {split}: "
                "keep a person in one folder"
            )


def assign_splits(samples: Sequence[Sample]) -> list[Split]:
    """The split of each sample.

    A sample with an official split keeps it; where a domain has official splits but no development set, 15 % of its
    training people become one. Every other domain is split by person: 55 % of the people train, 15 % development, 30 %
    test. A hash of domain and subject decides, so that a split does not change when pictures are added.
    """
    has_dev = {sample.domain for sample in samples if sample.split == "dev"}
    return [_split(sample, sample.domain in has_dev) for sample in samples]


def _split(sample: Sample, domain_has_dev: bool) -> Split:
    draw = _draw(sample)
    if sample.split is None:
        if draw < _DEV_SHARE:
            return "dev"
        return "test" if draw < _DEV_SHARE + _TEST_SHARE else "train"
    if sample.split == "train" and not domain_has_dev and draw < _DEV_SHARE:
        return "dev"
    return sample.split


def _draw(sample: Sample) -> float:
    """A pseudo-random number in [0, 1) that depends only on domain and person."""
    digest = hashlib.sha256(f"{sample.domain}/{sample.subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
