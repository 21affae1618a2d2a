"""Count the errors on pictures and clips in colour, and on the same ones made grey.

    python recipes/default/grey.py photos DATA [--bundle models/default] [--people 15] [--peer PEERS]
    python recipes/default/grey.py clips RUN

Photos: for every domain that has attacks, one live picture of each of --people test people and one attack on each of as
many are scored through the service. The threshold is the operating point `eer`. With --peer the reference of
`evaluate.py` is counted as well, at its threshold of 0.5.

Clips: those of test people, in every domain that has clips, scored by the run's temporal head. The threshold is where
both error rates are equal on the colour clips of development people.
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
from liveness_training.evaluation.metrics import Scored, auc, eer
from liveness_training.evaluation.scoring import embed, score_clips
from liveness_training.runs.folder import RunFolder
from liveness_training.runs.refit import greyed


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


def photos(options: argparse.Namespace) -> None:
    """Print one line for each domain, label and colour."""
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


def clips(options: argparse.Namespace) -> None:
    """Print two lines for each domain, in colour and in grey."""
    run = RunFolder.read(options.run)
    crops = run.crops()
    protocol, network, head = run.protocol(crops), run.network(), run.temporal()
    if head is None:
        raise SystemExit(f"{run.path} has no temporal head")

    def judged(rows: tuple[int, ...], grey: bool) -> Scored:
        shown = run.clips(crops, rows)
        needed = sorted({row for clip in shown for row in clip.rows})
        embeddings = embed(network, crops, needed, run.preprocess, greyed if grey else None)
        scores = score_clips(head, embeddings, shown)
        return Scored.of(
            list(scores.values()), [clip.sample.live for clip in scores], [clip.sample.species for clip in scores]
        )

    _, threshold = eer(judged(protocol.dev, grey=False))
    for name, part in protocol.reports.items():
        if name == "test" or not run.clips(crops, part.rows):
            continue
        for grey in (False, True):
            found = judged(part.rows, grey)
            live, passed = found.live_M, found.scores_M >= threshold
            print(
                f"{name}, {'grey' if grey else 'colour'}: {(live & ~passed).sum()} of {live.sum()} live clips refused, "
                f"{(~live & passed).sum()} of {(~live).sum()} attacks pass, AUC {100 * auc(found):.1f}"
            )


def main() -> None:
    """Read the command line and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_photos = commands.add_parser("photos", help="labelled pictures, through the service")
    of_photos.add_argument("data", type=Path, metavar="DATA")
    of_photos.add_argument("--bundle", type=Path, default=Path("models/default"))
    of_photos.add_argument("--people", type=int, default=15)
    of_photos.add_argument("--peer", type=Path)
    of_photos.set_defaults(count=photos)
    of_clips = commands.add_parser("clips", help="clips of a run, by its temporal head")
    of_clips.add_argument("run", type=Path, metavar="RUN")
    of_clips.set_defaults(count=clips)
    options = parser.parse_args()
    options.count(options)


if __name__ == "__main__":
    main()
