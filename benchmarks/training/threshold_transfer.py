"""Whether thresholds hold on a domain that nobody saw, by where they were chosen.

    python benchmarks/training/threshold_transfer.py RUN…

RUN: runs that each kept one domain out. *known*: chosen on development people of the run's own sources, as export does.
*others*: chosen on what the other runs gave the domain that each had kept out, test people left out: scores of cameras
that the network did not know, none of them the one that is reported on. The domain's own test people are in what is
reported, and so are all others of it. Percent; APCER is that of the worst species. Scores are taken at each run's own
temperature.
"""

import argparse
from pathlib import Path

import numpy as np

from liveness_training.data.datasets import parse_source
from liveness_training.data.protocols import assign_splits
from liveness_training.evaluation.calibration import fit_temperature, operating_points
from liveness_training.evaluation.metrics import Scored, apcer, bpcer
from liveness_training.evaluation.score_file import ScoreRow, read_scores
from liveness_training.runs.folder import SCORES, RunFolder

_HELD_OUT = "held_out/"
_POINTS = ("eer", "apcer5", "apcer1")


def _scored(rows: list[ScoreRow], temperature: float) -> Scored:
    kept = [row.presentation for row in rows if row.presentation.score is not None]
    odds = _log_odds([each.score for each in kept]) / temperature
    samples = [each.sample for each in kept]
    return Scored.of(
        1 / (1 + np.exp(-odds)), [sample.live for sample in samples], [sample.species for sample in samples]
    )


def _log_odds(scores: list[float]) -> np.ndarray:
    clipped = np.clip(np.asarray(scores), 1e-12, 1 - 1e-12)
    return np.log(clipped / (1 - clipped))


def _together(parts: list[Scored]) -> Scored:
    return Scored(*(np.concatenate([getattr(each, name) for each in parts]) for name in Scored.__slots__))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    known, strange, whole = {}, {}, {}
    for path in parser.parse_args().runs:
        run = RunFolder.read(path)
        (domain,) = run.config.hold_out
        rows = [row for row in read_scores(path / SCORES) if row.level == "frame"]
        dev = [row for row in rows if row.part == "dev"]
        live = np.array([row.presentation.sample.live for row in dev])
        temperature = fit_temperature(_log_odds([row.presentation.score for row in dev]), live)
        held_out = [row for row in rows if row.part == _HELD_OUT + domain]
        known[domain] = _scored(dev, temperature)
        whole[domain] = _scored(held_out, temperature)
        samples = [sample for each in run.data for sample in parse_source(each).read()]
        splits = dict(zip((sample.key for sample in samples), assign_splits(samples), strict=True))
        # Test people are left out: the shipped bundle is reported on them.
        apart = [row for row in held_out if splits[row.presentation.name] != "test"]
        strange[domain] = _scored(apart, temperature)
    print(f"| held out | chosen on | {' | '.join(f'APCER / BPCER {name}' for name in _POINTS)} |")
    print("| --- " * 5 + "|")
    for domain in whole:
        chosen = {"known": known[domain]}
        if len(whole) > 1:
            chosen["others"] = _together([strange[other] for other in whole if other != domain])
        for name, data in chosen.items():
            points = operating_points(data, name)
            cells = [
                f"{100 * apcer(whole[domain], points[point].threshold):.1f} / "
                f"{100 * bpcer(whole[domain], points[point].threshold):.1f}"
                for point in _POINTS
            ]
            print(f"| {domain} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
