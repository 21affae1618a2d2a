"""Show what a codec's losses do to the score of clips, to set the limits of their blockiness by it.

    python recipes/default/compressed_clips.py CLIP … [--bundle models/default] [--seconds 3]

The clips are recordings of live people. Some seconds of each are encoded anew by codecs that smooth the edges of their
blocks (H.264, HEVC, VP8) and by two that do not (MPEG-4 Part 2, Motion JPEG), from their best quality to a bad one, and
judged by the service's pipeline without the limits of a clip's mean blockiness. Printed are the clips, and for each
range of mean blockiness how far the log-odds are from those of H.264 at CRF 20, and how many are no longer live.
"""

import argparse
import asyncio
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from liveness_core.bundle import Manifest, default_bundle_path
from liveness_core.detection import create_detector
from liveness_core.video import VideoLimits
from liveness_service.observability.metrics import Metrics
from liveness_service.results import ClipResult, Verdict
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.scoring.finder import Finder
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions, Submission

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from clips import FPS, Recording, encode_video

UNSMOOTHED = ("mpeg4", "mjpeg")
_REALTIME = {"deadline": "realtime", "cpu-used": "8"}
_HEVC = {"preset": "ultrafast", "x265-params": "log-level=none"}
LOSSES = [
    *(("mp4", "libx264", {"preset": "veryfast", "crf": crf}) for crf in ("20", "28", "34", "40", "45")),
    *(("mp4", "libx265", {**_HEVC, "crf": crf}) for crf in ("24", "34", "42")),
    *(("webm", "libvpx", {**_REALTIME, "b": rate}) for rate in ("500k", "250k", "120k")),
    *(("avi", "mpeg4", {"qmin": quality, "qmax": quality}) for quality in ("2", "3", "5", "8", "13")),
    *(("avi", "mjpeg", {"qmin": quality, "qmax": quality}) for quality in ("2", "3", "5", "8")),
]
RANGES = (0.0, 0.05, 0.1, 0.16, 0.25, 0.35, 0.5, 0.7)


def open_bundle(bundle: Path, copy: Path) -> Manifest:
    """Copy a bundle without the limits of a clip's mean blockiness."""
    shutil.copytree(bundle, copy)
    manifest = Manifest.model_validate_json((bundle / "bundle.json").read_text())
    gates = manifest.quality_gates.model_copy(
        update={"max_clip_blockiness": None, "max_unsmoothed_clip_blockiness": None}
    )
    opened = manifest.model_copy(update={"quality_gates": gates}).sealed()
    (copy / "bundle.json").write_text(opened.model_dump_json())
    return opened


def encodings(path: Path, seconds: float) -> Iterator[tuple[str, str, bytes]]:
    """Codec, its last option, and the file, for each loss."""
    frames = Recording(path.stem, path.read_bytes()).cut(seconds, np.random.default_rng(5))
    for kind, codec, options in LOSSES:
        yield codec, [*options.values()][-1], encode_video(frames, kind, codec, fps=FPS, options=options)


async def measure(bundle: Path, paths: list[Path], seconds: float) -> None:
    found: dict[tuple[str, float], list[tuple[float, bool]]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        manifest = open_bundle(bundle, Path(folder) / "bundle")
        settings = Settings(bundle_path=Path(folder) / "bundle", deadline_ms=120_000, log_level="error", workers=0)
        service = LivenessService(settings, Metrics())
        await service.start()
        finder = Finder.of(manifest, create_detector(manifest.detector))
        assert manifest.temporal is not None
        preparation = ClipPreparation(finder, manifest.temporal.clip, VideoLimits(), 0.5)
        for path in paths:
            original = math.nan
            for codec, loss, content in encodings(path, seconds):
                usable = preparation.prepare(content, FacePolicy.SINGLE, lambda: False).facts.usable
                answer = await service.score(Submission(Endpoint.CLIP, content, ScoreOptions()))
                assert isinstance(answer, ClipResult)
                if answer.score is None:
                    print(f"{path.stem} {codec} {loss}: {' '.join(answer.reasons)}", flush=True)
                    continue
                blockiness = float(np.mean([face.quality.blockiness for face in usable]))
                log_odds = math.log(answer.score / (1 - answer.score))
                if (codec, loss) == ("libx264", "20"):
                    original = log_odds
                at = max(low for low in RANGES if low <= blockiness)
                kind = "not smoothed" if codec in UNSMOOTHED else "smoothed"
                found[kind, at].append((log_odds - original, answer.verdict is Verdict.LIVE))
                print(
                    f"{path.stem} {codec} {loss}: blockiness {blockiness:.3f}, {log_odds - original:+.2f}", flush=True
                )
        await service.close()
    print("| blocks | mean blockiness from | clips | log-odds: median | least | not live |\n" + "| --- " * 6 + "|")
    for (kind, low), changes in sorted(found.items()):
        moved = [change for change, _ in changes if not math.isnan(change)]
        if moved:
            lost = sum(not is_live for _, is_live in changes)
            print(f"| {kind} | {low} | {len(changes)} | {np.median(moved):+.2f} | {min(moved):+.2f} | {lost} |")


def main() -> None:
    """Judge the clips and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.bundle, arguments.clips, arguments.seconds))


if __name__ == "__main__":
    main()
