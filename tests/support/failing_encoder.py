"""A service whose encoder raises while the file is there that FAILING names: `python failing_encoder.py serve`."""

import os
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def main():
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    from liveness_core.scoring import Scorer
    from liveness_service.cli import app

    score, told = Scorer.score, Path(os.environ["FAILING"])

    def failing(self, crops, **options):
        if told.exists():
            raise RuntimeError("the encoder's thread was told to raise")
        return score(self, crops, **options)

    Scorer.score = failing
    app()


if __name__ == "__main__":
    main()
