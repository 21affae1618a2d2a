"""Check CUDA and TensorRT against the CPU and measure them: one call of less than ten minutes for a machine with a GPU.

    python benchmarks/gpu_check.py [--out gpu_check.json] [--bundle models/default] [--seconds 1] [--no-service]

Without a GPU it says why and ends with status 0. Each part is written to the file as soon as it is done, so that a
call that is cut off keeps what it had; a part that cannot run, as without ONNX Runtime's build for GPUs, says why.
Parts: what is there; the card's limits of arithmetic and bandwidth as PyTorch reaches them; images a second of our
encoder, ResNet-18 and ResNet-50 in PyTorch with random weights, fp16 and fp32; by provider, scores against the CPU's
fp32 for all batch sizes, images a second of our encoder, and the service at concurrency 64.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# A machine that is lent for minutes has this checkout and no installation of it.
sys.path[:0] = [str(ROOT / part) for part in ("core", "service", "training", "benchmarks")]
BATCHES = (1, 2, 3, 4, 5, 8, 16, 32)
TOLERANCE = 0.01
"""Most difference of a score from the CPU's, for fp16; ten times less for fp32."""
GPU_PROVIDERS = ("cuda", "tensorrt")


class Report:
    """The figures so far, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.parts: dict[str, Any] = {}

    def part(self, name: str, work: Callable[[], Any]) -> None:
        """Do one part and keep what it gives, or why it failed: the others go on."""
        started = time.perf_counter()
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 (whatever a driver raises is a finding)
            found = {"failed": f"{type(error).__name__}: {error}", "at": traceback.format_exc().splitlines()[-3:]}
        self.parts[name] = {"seconds": round(time.perf_counter() - started, 1), "found": found}
        self._file.write_text(json.dumps(self.parts, indent=2) + "\n")
        print(f"{name} ({self.parts[name]['seconds']} s)\n{json.dumps(found, indent=2)}", flush=True)


def why_not() -> str | None:
    """Why there is no GPU to check; None if there is one."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        return "there is no nvidia-smi: no NVIDIA driver"
    if done.returncode or "GPU" not in done.stdout:
        return f"nvidia-smi finds no GPU: {(done.stdout + done.stderr).strip()[:200]}"
    return None


def what_is_there() -> dict[str, Any]:
    query = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    card = subprocess.run(
        ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, check=True
    )
    found = {"card": card.stdout.strip(), "python": sys.version.split()[0]}
    for name in ("onnxruntime", "torch"):
        try:
            found[name] = import_module(name).__version__
        except ImportError:
            found[name] = "not installed"
    return found


def scores(bundle: Path, provider: str) -> dict[str, Any]:
    """The largest difference of a score from the CPU's fp32, for each variant and size of a batch."""
    from liveness_core.bundle import BundleError, load_bundle
    from liveness_core.bundle.load import read_manifest
    from liveness_core.runtime import NetworkError, ProviderError, RuntimeOptions

    manifest = read_manifest(bundle)
    random = np.random.default_rng(0)
    faces = [
        tuple(random.integers(0, 256, (view.size, view.size, 3), np.uint8) for view in manifest.views)
        for _ in range(max(BATCHES))
    ]
    precisions = [variant.precision for variant in manifest.variants]
    exact = "fp32" if "fp32" in precisions else "fp16"  # on a processor, fp16 weights compute in fp32
    on_cpu = load_bundle(bundle, precision=exact, runtime=RuntimeOptions("cpu"))
    expected = np.array([each.score for each in on_cpu.scorer.score(faces)])
    found: dict[str, Any] = {}
    for precision in precisions:
        for graphs in (False, True) if provider == "cuda" else (False,):
            name = f"{precision}{' with graphs' if graphs else ''}"
            options = RuntimeOptions(provider, cuda_graphs=graphs, gpu_memory_mb=8192)  # type: ignore[arg-type]  # of our own list
            try:
                loaded = load_bundle(bundle, precision=precision, runtime=options)
            except (BundleError, ProviderError, NetworkError) as error:
                found[name] = f"refused: {error}"
                continue
            drifts = {}
            for images in BATCHES:
                for _ in range(3):  # a graph is recorded in the first runs and replayed later
                    got = np.array([each.score for each in loaded.scorer.score(faces[:images])])
                drifts[images] = round(float(np.abs(got - expected[:images]).max()), 6)
            allowed = TOLERANCE if precision == "fp16" else TOLERANCE / 10
            found[name] = {"drift": drifts, "good": max(drifts.values()) <= allowed, "providers": loaded.providers}
    return found


def rates(session: Any, sides: dict[str, int], seconds: float) -> dict[int, float]:
    """Faces a second by the size of the batch, with the copies to and from the card; `sides` by input."""
    found = {}
    result = session.outputs[0].name
    random = np.random.default_rng(0)
    for images in (1, 8, 32):
        batch = {
            name: random.uniform(-1, 1, (images, 3, side, side)).astype(np.float32) for name, side in sides.items()
        }
        for _ in range(5):
            session.run(batch, [result])
        done, end, started = 0, time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < end:
            session.run(batch, [result])
            done += images
        found[images] = round(done / (time.perf_counter() - started), 1)
    return found


def encoder_rates(bundle: Path, provider: str, seconds: float) -> dict[str, Any]:
    from liveness_core.bundle.load import read_manifest
    from liveness_core.runtime import NetworkError, OrtSession, ProviderError, RuntimeOptions

    manifest = read_manifest(bundle)
    found: dict[str, Any] = {}
    for variant in manifest.variants:
        model = (bundle / variant.encoder.file).read_bytes()
        for graphs in (False, True) if provider == "cuda" else (False,):
            options = RuntimeOptions(provider, cuda_graphs=graphs, half=variant.precision == "fp16")  # type: ignore[arg-type]  # of our own list
            name = f"{variant.precision}{' with graphs' if graphs else ''}"
            try:
                found[name] = rates(
                    OrtSession(model, options), {view.name: view.size for view in manifest.views}, seconds
                )
            except (ProviderError, NetworkError) as error:
                found[name] = f"refused: {error}"
    return found


def torch_rates(seconds: float) -> dict[str, Any]:
    """The encoders of training with random weights in PyTorch, 224 pixels, without copies to the card."""
    import torch

    from liveness_training.models.network import create_encoder

    found: dict[str, Any] = {}
    for name in ("mobilenet_v2", "resnet18", "resnet50"):
        network = create_encoder(name).cuda().eval()
        for kind in (torch.float32, torch.float16):
            made = network.to(kind).to(memory_format=torch.channels_last)
            for images in (1, 32, 256):
                batch = torch.rand(images, 3, 224, 224, device="cuda", dtype=kind)
                with torch.inference_mode():
                    seconds_each = timed(lambda m=made, b=batch: m(b), seconds)
                found[f"{name} {str(kind)[6:]} batch {images}"] = round(images / seconds_each, 1)
    return found


def timed(work: Callable[[], Any], seconds: float) -> float:
    """Seconds of one call on the GPU."""
    import torch

    for _ in range(5):
        work()
    torch.cuda.synchronize()
    started, done = time.perf_counter(), 0
    while time.perf_counter() < started + seconds:
        work()
        done += 1
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / done


def limits_of_the_card() -> dict[str, float]:
    """Products of large matrices, and copies within the card's memory, as PyTorch reaches them."""
    import torch

    found, side = {}, 8192
    for kind in (torch.float32, torch.float16):
        a = torch.rand(side, side, device="cuda", dtype=kind)
        found[f"{str(kind)[6:]}, 10^12 multiply-adds a second"] = round(side**3 / timed(lambda x=a: x @ x, 1) / 1e12, 1)
    block = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    found["memory, GB a second"] = round(2 * len(block) / timed(block.clone, 1) / 1e9, 0)
    return found


def service_at_64(provider: str, seconds: float) -> dict[str, Any]:
    from serving import closed_loop, ours, photo

    with (
        tempfile.TemporaryDirectory() as cache,
        ours(provider=provider, provider_cache=cache, max_inflight="128", max_batch_size="32") as service,
    ):
        closed_loop(service, photo(0.3), 64, 2)
        return closed_loop(service, photo(0.3), 64, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "default")
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--no-service", action="store_true", help="leave out the service, which needs wrk")
    options = parser.parse_args()
    if (reason := why_not()) is not None:
        print(f"skipped: {reason}")
        return
    report = Report(options.out)
    report.part("machine", what_is_there)
    report.part("limits of the card", limits_of_the_card)
    report.part("encoders in PyTorch", lambda: torch_rates(options.seconds))
    # TensorRT compiles for minutes, so it comes last.
    for provider in GPU_PROVIDERS:
        report.part(f"{provider}: scores against the CPU", lambda p=provider: scores(options.bundle, p))
        report.part(
            f"{provider}: images a second", lambda p=provider: encoder_rates(options.bundle, p, options.seconds)
        )
        if not options.no_service:
            report.part(f"{provider}: service, 64 at once", lambda p=provider: service_at_64(p, 10 * options.seconds))


if __name__ == "__main__":
    main()
