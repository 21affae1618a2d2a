"""Compare the time to serve a clip with its bare stages, on one core.

    python benchmarks/clip_overhead.py [--rounds 15] [--seconds 10] [--clip FILE]

The clip: 640x480, 30 frames a second, H.264 as x264 writes it by default, or a recording. Bare: decode the eight
frames, find the face in them, cut the crops and run the encoder on all eight, in this process. Naive: the same, but
every frame up to the last needed one is decoded, and each of the eight gets a whole face search. Served: a real
`liveness serve` process, asked over a real socket. All three share one core and take turns, because the speed of shared
machines drifts; what counts is the ratio within a round. Processor time is that of all of the service's processes; it
is what to read on a machine that has other work.
"""

import argparse
import http.client
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2

from liveness_core.bundle import Bundle, default_bundle_path, load_bundle
from liveness_core.clips import ClipSpec
from liveness_core.detection import FaceDetector, create_detector
from liveness_core.detection.tracking import FaceTracker
from liveness_core.video import VideoReader
from liveness_core.views import cut_views

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.clips import clip, person
from support.server import Server, running_server

SPEC = ClipSpec()


def bare(content: bytes, bundle: Bundle, detector: FaceDetector) -> None:
    views = bundle.manifest.views
    video, tracker, crops = VideoReader(io.BytesIO(content)), FaceTracker(detector), []
    for frame in video.read(SPEC.positions(video.frames)):
        faces = tracker.find(frame.pixels, frame.position)[:1]
        crops += [cut_views(views, frame.pixels, face) for face in faces]
    bundle.scorer.score(crops)


def naive(content: bytes, bundle: Bundle, detector: FaceDetector) -> None:
    views, crops = bundle.manifest.views, []
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted = SPEC.positions(stream.frames)
        for position, frame in enumerate(container.decode(stream)):
            if position in wanted:
                picture = frame.to_ndarray(format="rgb24")
                crops += [cut_views(views, picture, face) for face in detector.detect(picture)[:1]]
            if position == wanted[-1]:
                break
    bundle.scorer.score(crops)


def served(content: bytes, server: Server) -> Callable[[], None]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)

    def run() -> None:
        connection.request("POST", "/v1/liveness/video", content, {"Content-Type": "video/mp4"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or b'"frames_used":8' not in body:
            raise RuntimeError(body)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clip", type=Path, help="a recording of one person in place of the clip that is made here")
    options = parser.parse_args()
    made = options.clip is None
    content = clip(lambda number: person(number, 640, 480), options.seconds) if made else options.clip.read_bytes()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    bundle = load_bundle(default_bundle_path())
    detector = create_detector(bundle.manifest.detector)
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        ways = {
            "bare": lambda: bare(content, bundle, detector),
            "naive": lambda: naive(content, bundle, detector),
            "served": served(content, server),
        }
        for run in ways.values():
            run()
        taken: dict[str, list[float]] = {name: [] for name in ways}
        worked: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, run in ways.items():
                worked_s = server.processor_s if name == "served" else time.process_time
                started, before = time.perf_counter(), worked_s()
                run()
                taken[name].append(1000 * (time.perf_counter() - started))
                worked[name].append(1000 * (worked_s() - before))
    about = f"{options.seconds:g} s of 640x480" if made else options.clip.name
    print(f"one core, {len(content) / 1e6:.1f} MB, {about}, load {os.getloadavg()[0]:.1f}")
    for what, times in (("time", taken), ("processor time", worked)):
        for name, values in times.items():
            print(f"{what}, {name}: {statistics.median(values):.0f} ms")
        for name in ("bare", "naive"):
            ratios = [ours / theirs for ours, theirs in zip(times["served"], times[name], strict=True)]
            target = f" (target {1.5 if made else 2.5})" if name == "bare" else ""
            print(f"{what}, served / {name}: {statistics.median(ratios):.2f}{target}")


if __name__ == "__main__":
    main()
