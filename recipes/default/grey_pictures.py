"""Count the live people a bundle refuses and the attacks that pass, in colour and with the same pictures made grey.

    python recipes/default/grey_pictures.py DATA [--bundle models/default] [--people 15] [--peer PEERS]

For every domain that has attacks, one live picture of each of --people test people and one attack on each of as many
are scored through the service. The threshold is the operating point `eer`. With --peer the reference of `evaluate.py`
is counted as well, at its threshold of 0.5.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
from evaluate import judge
from silent_face import SilentFace

from liveness_core.bundle import Manifest
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import Sample, read_index


def chosen(root: Path, people: int) -> list[Sample]:
    """One live picture and one attack for the first test people of every domain that has attacks."""
    samples = read_index(root)
    attacked = {sample.domain for sample in samples if not sample.live}
    found: dict[tuple[str, bool], dict[str, Sample]] = {
        (domain, live): {} for domain in sorted(attacked) for live in (True, False)
    }
    for sample, split in zip(samples, assign_splits(samples), strict=True):
        if split == "test" and sample.domain in attacked:
            by_person = found[sample.domain, sample.live]
            if len(by_person) < people:
                by_person.setdefault(sample.subject, sample)
    return [sample for by_person in found.values() for sample in by_person.values()]


def main() -> None:
    """Print one line for each domain, label and colour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--people", type=int, default=15)
    parser.add_argument("--peer", type=Path)
    options = parser.parse_args()
    manifest = Manifest.model_validate_json((options.bundle / "bundle.json").read_text())
    threshold = manifest.operating_points["eer"].threshold
    samples = chosen(options.data, options.people)
    with tempfile.TemporaryDirectory() as folder:
        pictures = []
        for number, sample in enumerate(samples):
            colour = cv2.imread(str(options.data / sample.path))
            grey = cv2.cvtColor(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            for name, picture in (("colour", colour), ("grey", grey)):
                path = f"{number}-{name}.png"
                cv2.imwrite(f"{folder}/{path}", picture)
                pictures.append(replace(sample, path=path))
        answers = asyncio.run(
            judge(options.bundle, Path(folder), pictures, SilentFace(options.peer) if options.peer else None)
        )
    for domain, live, name in product(sorted({sample.domain for sample in samples}), (True, False), ("colour", "grey")):
        there = [
            case
            for case in answers
            if (case.sample.domain, case.sample.live) == (domain, live) and name in case.sample.path
        ]
        line = f"{domain}, {name}: {_wrong([case.answer.score for case in there], threshold, live)}"
        line += " live people refused" if live else " attacks pass"
        if options.peer:
            line += f", by the reference {_wrong([case.peer for case in there], 0.5, live)}"
        print(line)


def _wrong(scores: Sequence[float | None], threshold: float, live: bool) -> str:
    given = [score for score in scores if score is not None]
    return f"{sum((score < threshold) == live for score in given)} of {len(given)}"


if __name__ == "__main__":
    main()
