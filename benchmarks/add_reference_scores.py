"""Gives a bundle from before `reference_scores` the scores of its development people; nothing else of it changes.

    python benchmarks/add_reference_scores.py models/default ../shared/pad-data ../public-faces

The data are those that it was trained on, as `liveness-train train` took them; `liveness-train export` writes the field
itself since then.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from liveness_core.bundle import Bundle, load_bundle, save_bundle
from liveness_core.bundle.reference import LabelledScores, ReferenceScores, ScoreDistribution
from liveness_core.clips import ClipSpec
from liveness_training.config import TrainConfig
from liveness_training.data.batches import service_images
from liveness_training.data.clips import Clip, clips_of
from liveness_training.data.crops import CropSet, prepare_all
from liveness_training.data.datasets import parse_source
from liveness_training.runs.folder import protocol_of

_BATCH = 64


def photo_scores(bundle: Bundle, crops: CropSet, rows: Sequence[int]) -> LabelledScores:
    scores = []
    for start in range(0, len(rows), _BATCH):
        scores += bundle.scorer.score(list(service_images(crops, rows[start : start + _BATCH])))
    return labelled([crops.samples[row].live for row in rows], [result.score for result in scores])


def clip_scores(bundle: Bundle, crops: CropSet, clips: Sequence[Clip]) -> LabelledScores:
    scores = [bundle.clip_scorer.score([list(service_images(crops, clip.rows))])[0].score for clip in clips]
    return labelled([clip.sample.live for clip in clips], scores)


def labelled(live: Sequence[bool], scores: Sequence[float]) -> LabelledScores:
    by_label = {
        label: [float(score) for own, score in zip(live, scores, strict=True) if own == label] for label in (0, 1)
    }
    return LabelledScores(live=ScoreDistribution.of(by_label[1]), spoof=ScoreDistribution.of(by_label[0]))


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
    settings = TrainConfig.model_validate(config)
    rows = protocol_of(settings, crops).dev
    reference = ReferenceScores(photo=photo_scores(bundle, crops, rows))
    if manifest.temporal is not None:
        clips = clips_of(crops, rows, manifest.temporal.clip, settings.short_clips)
        reference = reference.model_copy(update={"clip": clip_scores(bundle, crops, clips)})
    files = {name: (options.bundle / name).read_bytes() for name in manifest.files}
    save_bundle(options.bundle, manifest.model_copy(update={"reference_scores": reference}), files)
    load_bundle(options.bundle)
    print(reference.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
