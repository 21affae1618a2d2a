"""Count the errors of a run's temporal head on clips in colour and on the same clips made grey.

    python recipes/default/grey_clips.py RUN

The clips are those of test people, in every domain that has clips. The threshold is where both error rates are equal on
the colour clips of development people. `recipes/default/grey_pictures.py` does the same with photos, through the
service.
"""

import argparse
from pathlib import Path

from liveness_training.evaluation.metrics import Scored, auc, eer
from liveness_training.evaluation.scoring import embed, score_clips
from liveness_training.runs.folder import RunFolder
from liveness_training.runs.refit import greyed


def main() -> None:
    """Print two lines for each domain, in colour and in grey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    run = RunFolder.read(parser.parse_args().run)
    crops = run.crops()
    protocol, network, head = run.protocol(crops), run.network(), run.temporal()
    if head is None:
        raise SystemExit(f"{run.path} has no temporal head")

    def judged(rows: tuple[int, ...], grey: bool) -> Scored:
        clips = run.clips(crops, rows)
        needed = sorted({row for clip in clips for row in clip.rows})
        embeddings = embed(network, crops, needed, run.preprocess, greyed if grey else None)
        scores = score_clips(head, embeddings, clips)
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


if __name__ == "__main__":
    main()
