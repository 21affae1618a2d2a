"""Count which clips get a verdict: real recordings, splices of two of them, and stills made into clips.

    python benchmarks/clips.py CLIPS [--data PAD_DATA] [--splices 200] [--stills 200] [--stretches 0] [--seed 0]
        [--verdicts]

CLIPS is a folder of recordings: `moving/` holds those of one person who moves. PAD_DATA is a folder with an index.csv
(docs/training.md): splices from a live person to an attack take its pictures of attacks, as a hand-held print or screen
that sways. Splices are cut at random instants, a quarter of them cross-faded in 0.3 to 1 s; the second recording is
scaled to the first one's size. Stills are frames of the recordings, every fifth the astronaut photo: frozen, with
noise, panned, zoomed, two in turn, turned, shaken, each by one of nine encoders and qualities. Stretches are three
seconds of a recording by one of the same encoders: they are of live people, and none may be a still. The clips are
prepared as the service does it; nothing is scored.

`--verdicts` counts nothing of this and asks the service about the recordings of one person, at the default operating
point of `--bundle`.
"""

import argparse
import asyncio
import csv
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from liveness_core.bundle import default_bundle_path, load_bundle
from liveness_core.detection import create_detector
from liveness_core.video import VideoLimits, VideoReader
from liveness_service.observability.metrics import Metrics
from liveness_service.results import FACE_CHANGED, STATIC_CLIP, ClipResult
from liveness_service.scoring.clip_preparation import ClipPreparation
from liveness_service.scoring.finder import Finder
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions, Submission

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.pictures import astronaut
from support.videos import encode_video

Frames = NDArray[np.uint8]

SIDE, FPS, SECONDS = 400, 15, 4
ENCODERS = [
    ("mp4", "libx264", {"crf": "18", "preset": "veryfast"}),
    ("mp4", "libx264", {"crf": "30", "preset": "veryfast"}),
    ("mp4", "libx264", {"crf": "38", "preset": "veryfast"}),
    ("webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "600k"}),
    ("webm", "libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "250k"}),
    ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "400k"}),
    ("avi", "mpeg4", {"b": "800k"}),
    ("mp4", "libx265", {"preset": "ultrafast", "crf": "30", "x265-params": "log-level=none"}),
    ("avi", "mjpeg", {}),
]
STILLS = ("frozen", "noise", "pan", "zoom", "two in turn", "pan, noise", "turn", "shake")


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    content: bytes

    @property
    def person(self) -> str:
        """Recordings with one name are of one person, or may be."""
        return "_".join(self.name.split("_")[:2])[:10] if self.name.startswith("auduno") else self.name

    def cut(self, seconds: float, random: np.random.Generator) -> list[Frames]:
        """Frames at `FPS` of a stretch that begins at random."""
        video = VideoReader(io.BytesIO(self.content))
        start = random.uniform(0, max(video.duration_s - seconds, 0))
        times = np.array([video.time_s(position) for position in range(video.frames)])
        wanted = [int(np.abs(times - start - n / FPS).argmin()) for n in range(round(seconds * FPS))]
        found = {frame.position: reduced(frame.pixels) for frame in video.read(sorted({*wanted}))}
        return [found[position] for position in wanted if position in found]


def reduced(picture: Frames) -> Frames:
    factor = min(SIDE / max(picture.shape[:2]), 1)
    size = (round(picture.shape[1] * factor) // 2 * 2, round(picture.shape[0] * factor) // 2 * 2)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def filled(picture: Frames, like: Frames) -> Frames:
    """A picture scaled and cut to the size of another."""
    height, width = like.shape[:2]
    factor = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(round(picture.shape[1] * factor), width), max(round(picture.shape[0] * factor), height))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    y, x = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[y : y + height, x : x + width].astype(np.uint8, copy=False)


def swayed(picture: Frames, number: int, random_phase: float, zoom_to: float = 1.0, most: float = 0.03) -> Frames:
    """A still at an instant of a clip in which it is panned, and zoomed to this factor."""
    height, width = picture.shape[:2]
    share = number / (FPS * SECONDS)
    scale = 1.15 * (1 + (zoom_to - 1) * share)
    x = most * width * np.sin(random_phase + 4 * share)
    y = most * height * np.cos(random_phase + 3 * share)
    matrix = np.array([[scale, 0, width / 2 * (1 - scale) + x], [0, scale, height / 2 * (1 - scale) + y]])
    moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.uint8, copy=False)


def turned(picture: Frames, degrees: float, scale: float, x: float, y: float) -> Frames:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale) + np.array([[0, 0, x], [0, 0, y]])
    moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(np.uint8, copy=False)


def noisy(picture: Frames, random: np.random.Generator) -> Frames:
    return np.clip(picture + random.normal(0, 3.5, picture.shape), 0, 255).astype(np.uint8)


def spliced(first: list[Frames], second: list[Frames], fade: int) -> Iterator[Frames]:
    yield from first[: len(first) - fade]
    for step in range(fade):
        share = (step + 1) / (fade + 1)
        yield cv2.addWeighted(
            first[len(first) - fade + step], 1 - share, filled(second[step], first[0]), share, 0
        ).astype(np.uint8, copy=False)
    for picture in second[fade:]:
        yield filled(picture, first[0])


def still(kind: str, one: Frames, other: Frames, random: np.random.Generator) -> Iterator[Frames]:
    phase, zoom = random.uniform(0, 6), random.uniform(0.9, 1.25)
    steps = random.normal(0, 0.004 * one.shape[1], (FPS * SECONDS, 2)).cumsum(0)
    shaken = steps - steps.mean(0)
    for number in range(FPS * SECONDS):
        picture = other if kind == "two in turn" and number % 2 else one
        if "pan" in kind:
            picture = swayed(picture, number, phase, most=0.06)
        if kind == "zoom":
            picture = swayed(picture, number, phase, zoom)
        if kind == "turn":
            picture = turned(picture, 6 * np.sin(phase + number / 20), 1.2, number / 8, 0)
        if kind == "shake":
            picture = turned(picture, 0, 1.15, *shaken[number])
        yield noisy(picture, random) if "noise" in kind else picture


def attacks(root: Path) -> list[Path]:
    with (root / "index.csv").open() as file:
        return [
            root / row["path"]
            for row in csv.DictReader(file)
            if row["domain"] == "replay_attack" and row["label"] == "spoof"
        ]


async def verdicts(bundle: Path, recordings: list[Recording]) -> list[str]:
    """Lines of a table: what the service says of each recording at the bundle's default operating point."""
    service = LivenessService(Settings(bundle_path=bundle, deadline_ms=60_000, log_level="error"), Metrics())
    await service.start()
    lines = ["| recording | verdict | score | threshold | mean of the frames |", "| --- " * 5 + "|"]
    said: Counter[str] = Counter()
    for recording in recordings:
        answer = await service.score(Submission(Endpoint.CLIP, recording.content, ScoreOptions()))
        assert isinstance(answer, ClipResult)
        said[answer.verdict] += 1
        shown = [
            "–" if value is None else f"{value:.3f}" for value in (answer.score, answer.threshold, answer.frame_score)
        ]
        lines.append(f"| {recording.name} | {answer.verdict} {' '.join(answer.reasons)} | {' | '.join(shown)} |")
    await service.close()
    return [*lines, ", ".join(f"{count} {verdict}" for verdict, count in said.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--splices", type=int, default=200)
    parser.add_argument("--stills", type=int, default=200)
    parser.add_argument("--stretches", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--verdicts", action="store_true", help="only what the service says of the recordings")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.verdicts:
        moving = [Recording(path.stem, path.read_bytes()) for path in sorted((options.clips / "moving").glob("*.*"))]
        print("\n".join(asyncio.run(verdicts(options.bundle, moving))))
        return
    manifest = load_bundle(options.bundle).manifest
    assert manifest.temporal is not None
    finder = Finder.of(manifest, create_detector(manifest.detector))
    preparation = ClipPreparation(finder, manifest.temporal.clip, VideoLimits(), 0.5)
    table: dict[str, list[tuple[str, ...]]] = defaultdict(list)

    def count(kind: str, name: str, content: bytes) -> None:
        facts = preparation.prepare(content, FacePolicy.SINGLE, lambda: False).facts
        table[kind].append(facts.refusals)
        if options.verbose:
            print(kind, name, facts.refusals, [(f.index, f.reasons) for f in facts.frames if f.reasons], flush=True)

    recordings = [Recording(path.stem, path.read_bytes()) for path in sorted((options.clips / "moving").glob("*.*"))]
    random = np.random.default_rng(options.seed)
    for recording in recordings:
        count("recordings of one person", recording.name, recording.content)
    pictures = attacks(options.data) if options.data else []
    for number in range(options.splices):
        one, other = (recordings[index] for index in random.choice(len(recordings), 2, replace=False))
        if one.person == other.person:
            continue
        instant = random.uniform(0.15, 0.85) * SECONDS
        fade = round(random.uniform(0.3, 1.0) * FPS) if number % 4 == 0 else 0
        first = one.cut(instant, random)
        if pictures and number % 3 == 1:
            attack = cv2.cvtColor(cv2.imread(str(random.choice(np.array(pictures)))), cv2.COLOR_BGR2RGB)
            phase = random.uniform(0, 6)
            count_of = round((SECONDS - instant) * FPS) + fade
            second = [noisy(swayed(attack.astype(np.uint8), n, phase), random) for n in range(count_of)]
            kind = "to an attack"
        else:
            second, kind = other.cut(SECONDS - instant + fade / FPS, random), "to another person"
        fade = min(fade, len(first) - 1, len(second) - 1)
        kind = f"spliced {kind}, {'cross-fade' if fade else 'cut'}"
        options_x264 = {"preset": "veryfast"}
        content = encode_video(spliced(first, second, fade), codec="libx264", fps=FPS, options=options_x264)
        count(kind, f"{one.name} {other.name} at {instant:.2f} fade {fade}", content)
    for number in range(options.stills):
        recording, kind = recordings[number % len(recordings)], STILLS[number % len(STILLS)]
        stretch = recording.cut(1.5, random)
        pair = stretch[0], stretch[int(random.integers(2, len(stretch)))]
        if number % 5 == 4:  # any photograph will do
            photo = reduced(astronaut())
            pair = photo, turned(photo, 1, 1, 2, 1)
        container, codec, settings = ENCODERS[number * 4 % len(ENCODERS)]
        if codec == "libx264" and number % 2:
            settings = {**settings, "threads": "1"}  # others divide the picture, and make other files each time
        clip = encode_video(still(kind, *pair, random), container, codec, fps=FPS, options=settings)
        count(f"still: {kind}", f"{recording.name} {codec} {settings}", clip)
    for number in range(options.stretches):
        recording = recordings[number % len(recordings)]
        container, codec, settings = ENCODERS[(number // len(recordings) * 2 + number) % len(ENCODERS)]
        clip = encode_video(recording.cut(3, random), container, codec, fps=FPS, options=settings)
        count("three seconds of a recording", f"{recording.name} {codec} {settings}", clip)
    print(
        "| clips | number | not refused | face_changed | static_clip | other |\n| --- | --- | --- | --- | --- | --- |"
    )
    for kind, answers in table.items():
        changed = sum(FACE_CHANGED in reasons for reasons in answers)
        static = sum(STATIC_CLIP in reasons for reasons in answers)
        free = sum(not reasons for reasons in answers)
        others = sum(bool(reasons) and not {FACE_CHANGED, STATIC_CLIP} & {*reasons} for reasons in answers)
        print(f"| {kind} | {len(answers)} | {free} | {changed} | {static} | {others} |")


if __name__ == "__main__":
    main()
