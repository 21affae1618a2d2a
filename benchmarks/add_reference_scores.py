"""Gives a bundle from before `reference_scores` the scores of its development people; nothing else of it changes.

    python benchmarks/add_reference_scores.py models/default ../shared/pad-data ../public-faces

The data are those that it was trained on, as `liveness-train train` took them; `liveness-train export` writes the field
itself since then.
"""

import argparse
from pathlib import Path

from liveness_core.bundle import ReferenceScores, ScoreDistribution, load_bundle, save_bundle
from liveness_core.clips import ClipSpec
from liveness_training.config import TrainConfig
from liveness_training.data.batches import service_images
from liveness_training.data.crops import prepare_all
from liveness_training.data.datasets import parse_source
from liveness_training.run_folder import protocol_of

_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    manifest = bundle.manifest
    config = {key: value for key, value in manifest.provenance.config.items() if key in TrainConfig.model_fields}
    crops = prepare_all(
        [parse_source(each) for each in options.data],
        options.cache,
        preprocess=manifest.preprocess,
        detector=manifest.detector,
        clip=ClipSpec(),
    )
    rows = protocol_of(TrainConfig.model_validate(config), crops).dev
    scores: dict[bool, list[float]] = {True: [], False: []}
    for start in range(0, len(rows), _BATCH):
        chunk = rows[start : start + _BATCH]
        for row, result in zip(chunk, bundle.scorer.score(list(service_images(crops, chunk))), strict=True):
            scores[crops.samples[row].live].append(float(result.score))
    reference = ReferenceScores(live=ScoreDistribution.of(scores[True]), spoof=ScoreDistribution.of(scores[False]))
    files = {name: (options.bundle / name).read_bytes() for name in manifest.files}
    save_bundle(options.bundle, manifest.model_copy(update={"reference_scores": reference}), files)
    load_bundle(options.bundle)
    print(reference.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
