"""Measure the encoder by provider and precision, batches of 1 to 32, beside the processor's arithmetic limit.

    python benchmarks/encoders.py [--bundle models/default] [--seconds 0.5] [--rounds 3] [--threads 1] [--out FILE]

Each row is images a second. All sessions are made first and then run in turns. Plain ONNX Runtime with fp32 weights
(the fp16 file computes in fp32 on processors) is the row `cpu fp16`. The limit is what a product of large matrices
reaches on one thread, divided by the encoder's multiplications; int8 has a higher limit where the processor has VNNI or
AMX.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from liveness_core.bundle import BundleError, default_bundle_path, load_bundle
from liveness_core.bundle.load import read_manifest
from liveness_core.runtime import NetworkError, OrtSession, ProviderError, RuntimeOptions, candidates

sys.path.insert(0, str(Path(__file__).resolve().parent))
from serving import machine

BATCHES = (1, 2, 4, 8, 16, 32)


def multiplications(file: Path) -> float:
    """Multiplications and additions, in pairs, that convolutions and matrix products take for one image."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(file)).graph
    shapes = {
        value.name: [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output, *graph.input]
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    total = 0.0
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        name = node.input[1]
        while name not in weights:  # behind a DequantizeLinear or a Cast
            name = made[name].input[0]
        total += float(np.prod(weights[name])) * float(np.prod(shapes[node.output[0]][2:]))
    return total


def products_a_second(seconds: float) -> float:
    """Multiply-adds a second of a product of large fp32 matrices on this thread: what the processor can do at best."""
    side = 768
    a, b = np.ones((2, side, side), np.float32)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        a @ b
        best = max(best, side**3 / (time.perf_counter() - started))
    return best


def images_a_second(run: Callable[[], object], images: int, seconds: float) -> float:
    end, done, started = time.perf_counter() + seconds, 0, time.perf_counter()
    while time.perf_counter() < end:
        run()
        done += images
    return done / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of one run")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    manifest = read_manifest(options.bundle)
    sessions: dict[str, OrtSession] = {}
    notes: dict[str, str] = {}
    for provider in candidates("auto"):
        for variant in manifest.variants:
            name = f"{provider} {variant.precision}"
            runtime = RuntimeOptions(provider, options.threads, half=variant.precision == "fp16")
            try:
                sessions[name] = OrtSession((options.bundle / variant.encoder.file).read_bytes(), runtime)
                load_bundle(options.bundle, precision=variant.precision, runtime=runtime)
            except (ProviderError, NetworkError) as error:
                notes[name] = f"does not run: {error}"
            except BundleError as error:
                notes[name] = f"would be passed over: {error}"
    random = np.random.default_rng(0)
    rates: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for images in BATCHES:
        batch = {
            view.name: random.uniform(-1, 1, (images, 3, view.size, view.size)).astype(np.float32)
            for view in manifest.views
        }
        seen: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(options.rounds):
            for name, session in sessions.items():
                session.run(batch, ["embedding"])
                seen[name].append(
                    images_a_second(lambda s=session, b=batch: s.run(b, ["embedding"]), images, options.seconds)
                )
        for name, values in seen.items():
            rates[name][images] = round(statistics.median(values), 1)
    needed = multiplications(options.bundle / manifest.variants[0].encoder.file)
    limit = products_a_second(1.0) / needed
    report = {"machine": machine(), "threads": options.threads, "images_a_second": rates, "notes": notes}
    report |= {"multiplications_of_an_image": needed, "fp32_limit_of_one_thread": round(limit, 1)}
    print(json.dumps(report["machine"]))
    print(f"| images a second, {options.threads} thread(s) | {' | '.join(map(str, BATCHES))} |")
    print("| --- |" + " --- |" * len(BATCHES))
    for name, row in rates.items():
        print(f"| {name} | {' | '.join(f'{row[images]:g}' for images in BATCHES)} |")
    print(f"{needed / 1e6:.0f} million multiplications an image; fp32 limit of one thread {limit:.0f} images a second")
    for name, note in notes.items():
        print(f"{name}: {note}")
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
