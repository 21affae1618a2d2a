"""Finds out whether an audit log is still what was written: no line changed, missing, swapped, added or cut off."""

import gzip
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from liveness_service.audit.chain import Head, Link, link_of
from liveness_service.audit.chained_file import read_head


@dataclass(frozen=True, slots=True)
class ChainFound:
    """One chain of the log, as far as it was found."""

    chain: str
    """Its name."""
    first: int
    """Number of its first line that was found."""
    lines: int
    """How many of its lines were found."""
    head: Head
    """The place behind its last line: what to keep elsewhere."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of a log found."""

    faults: tuple[str, ...]
    """What is wrong, each with the file and the number of the line, counted from 1; empty for a log that is whole."""
    chains: tuple[ChainFound, ...]
    """The chains that the log consists of."""
    unsealed: int
    """Lines that were accepted without a seal, since an older version wrote them."""


@dataclass(slots=True)
class _Walk:
    """The lines of one chain that were seen so far."""

    first: Link
    where: str
    """The last line with the highest number so far, in words."""
    head: Head
    lines: int = 0
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    """Numbers of lines that did not come yet, first and last, and between which lines they should be."""
    seen_hashes: set[str] = field(default_factory=set)
    """Those of the anchors that are hashes of lines of this chain."""


def verify(
    paths: Sequence[Path],
    *,
    keys: Sequence[bytes] = (),
    anchors: Collection[str] = (),
    allow_unsealed: bool = False,
) -> Report:
    """Check the files of one or several logs, in the order of their lines, whatever order they are given in.

    Args:
        paths: the files; those that end in `.gz` are decompressed.
        keys: secrets; each line must be sealed with one of them. None: lines must be sealed without a key.
        anchors: hashes that were kept elsewhere. Each must be that of a line, or of the line before a file's first one.
        allow_unsealed: accept lines before the beginning of the first chain that have no seal.

    Raises:
        OSError: a file cannot be read.
    """
    # Before the files: a service that is running may write more lines meanwhile.
    heads = [(path, head) for path in paths if (head := read_head(path)) is not None]
    wanted = {*anchors, *(head.hash for _, head in heads)}
    faults: list[str] = []
    walks: dict[str, _Walk] = {}
    unsealed = 0
    for path in sorted(paths, key=_first_number):
        for number, line in enumerate(_lines(path), 1):
            where = f"{path} line {number}"
            link = link_of(line.removesuffix(b"\n"))
            if link is None:
                if allow_unsealed and not walks:
                    unsealed += 1
                else:
                    faults.append(f"{where}: no sealed line of an audit log")
                continue
            if not any(link.is_sealed_with(key) for key in keys or (None,)):
                faults.append(f"{where} (number {link.head.seq}): changed, or sealed with another key")
            walk = walks.get(link.head.chain)
            if walk is None:
                walk = walks[link.head.chain] = _Walk(link, where, link.head)
                faults += _beginning(link, where, anchors)
            else:
                faults += _next(walk, link, where)
            walk.lines += 1
            walk.seen_hashes |= wanted & {link.head.hash, link.prev}
    for walk in walks.values():
        faults += [f"{_numbers(first, last)} missing: {between}" for first, last, between in walk.gaps]
    seen = set().union(*(walk.seen_hashes for walk in walks.values()))
    faults += [
        f"{path}: cut off, line number {head.seq} was written and is not there"
        for path, head in heads
        if head.hash not in seen
    ]
    faults += [f"no line has the hash {anchor}: it was cut off or changed" for anchor in anchors if anchor not in seen]
    found = tuple(ChainFound(name, walk.first.head.seq, walk.lines, walk.head) for name, walk in walks.items())
    return Report(tuple(faults), found, unsealed)


def _beginning(link: Link, where: str, anchors: Collection[str]) -> Iterable[str]:
    """What is wrong with the first line that was found of a chain."""
    if link.is_first or link.prev in anchors:
        return
    if link.head.seq == 1:
        yield f"{where} (number 1): does not begin a chain"
    else:
        yield f"{_numbers(1, link.head.seq - 1)} missing: before {where} (number {link.head.seq})"


def _next(walk: _Walk, link: Link, where: str) -> Iterable[str]:
    """What is wrong with the place of a line, after the lines of its chain that came before; the walk goes on."""
    seq, last = link.head.seq, walk.head.seq
    here = f"{where} (number {seq})"
    if seq <= last:
        gap = next((gap for gap in walk.gaps if gap[0] <= seq <= gap[1]), None)
        if gap is None:
            yield f"{here}: a line of this number stands before it"
            return
        walk.gaps.remove(gap)
        walk.gaps += [part for part in ((gap[0], seq - 1, gap[2]), (seq + 1, gap[1], gap[2])) if part[0] <= part[1]]
        yield f"{here}: swapped, it stands behind {walk.where} (number {last})"
        return
    if seq > last + 1:
        walk.gaps.append((last + 1, seq - 1, f"between {walk.where} and {where}"))
    elif link.prev != walk.head.hash:
        yield f"{here}: does not follow {walk.where}, one of the two was replaced"
    walk.head, walk.where = link.head, where


def _numbers(first: int, last: int) -> str:
    return f"line number {first} is" if first == last else f"lines number {first} to {last} are"


def _first_number(path: Path) -> tuple[str, int]:
    """Chain and number of the first sealed line: the order in which files are read. Files without one come first."""
    for line in _lines(path):
        if (link := link_of(line.removesuffix(b"\n"))) is not None:
            return link.head.chain, link.head.seq
    return "", 0


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from file
