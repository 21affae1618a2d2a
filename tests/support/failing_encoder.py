"""A service whose encoder raises again and again in every third second: `python failing_encoder.py serve`."""

import os
import time
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def main():
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    from liveness_core.scoring import Scorer
    from liveness_service.cli import app

    score = Scorer.score
    until = time.monotonic() + 5 + float(os.environ["FAILING_SECONDS"])  # the golden cases are scored before

    def failing(self, crops, **options):
        now = time.monotonic()
        if until - float(os.environ["FAILING_SECONDS"]) < now < until and int(now) % 3 == 0 and int(5 * now) % 2:
            raise RuntimeError("the encoder's thread was told to raise")
        return score(self, crops, **options)

    Scorer.score = failing
    app()


if __name__ == "__main__":
    main()
