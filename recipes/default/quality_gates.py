"""Show where the error rises with a picture's quality, to set the quality gates of a bundle by it.

    python recipes/default/quality_gates.py DATA --out OUT [--bundle models/default] [--held-out DOMAIN=BUNDLE …]

The pictures are scored through the service's pipeline with its gates open: development people by the bundle, and whole
domains by bundles of the same recipe that were not trained on them. For each quality measure the pictures are sorted
into tenths, and the share of wrong verdicts at the operating point `eer` is given for each tenth. It is also given for
the pictures that the bundle's gates refuse and for the others. OUT gets quality_gates.json and a plot.

    python recipes/default/quality_gates.py --bundle models/default --set max_noise=0.3 … --version 6.2

writes gates into a bundle, and a new version with them, since they change answers. The bundle's signature, if it has
one, must be made anew.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from evaluate import judge

from liveness_core.bundle import Manifest
from liveness_core.quality import QualityGates, refusals
from liveness_core.types import Quality
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import read_index

mpl.use("Agg")
import matplotlib.pyplot as plt

_OPEN = QualityGates(
    min_face_px=0,
    max_cut_off=1,
    min_sharpness=0,
    min_brightness=0,
    max_brightness=1,
    max_yaw_deg=90,
    max_pitch_deg=90,
    max_roll_deg=180,
)  # noise, grain and blockiness have no gate unless one is set
_BINS = 10
_CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Measure:
    """One quality measure and its gates."""

    name: str
    of: Callable[[Quality], float]
    gates: Callable[[QualityGates], tuple[float, ...]]


MEASURES = (
    Measure("face_px", lambda q: q.face_px, lambda g: (g.min_face_px,)),
    Measure("sharpness", lambda q: q.sharpness, lambda g: (g.min_sharpness,)),
    Measure("brightness", lambda q: q.brightness, lambda g: (g.min_brightness, g.max_brightness)),
    Measure("|yaw|, degrees", lambda q: abs(q.yaw_deg), lambda g: (g.max_yaw_deg,)),
    Measure("|pitch|, degrees", lambda q: abs(q.pitch_deg), lambda g: (g.max_pitch_deg,)),
    Measure("|roll|, degrees", lambda q: abs(q.roll_deg), lambda g: (g.max_roll_deg,)),
    Measure("cut off", lambda q: q.cut_off, lambda g: (g.max_cut_off,)),
    Measure("noise", lambda q: q.noise, lambda g: tuple(x for x in (g.max_noise, g.max_smooth_noise) if x is not None)),
    Measure("grain", lambda q: q.grain, lambda g: (g.sensor_grain,) if g.sensor_grain is not None else ()),
    Measure(
        "blockiness", lambda q: q.blockiness, lambda g: (g.max_blockiness,) if g.max_blockiness is not None else ()
    ),
)


@contextmanager
def opened(bundle: Path) -> Iterator[Path]:
    """A temporary copy of the bundle whose gates refuse nothing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / bundle.name
        shutil.copytree(bundle, copy)
        manifest = Manifest.model_validate_json((copy / "bundle.json").read_text())
        changed = manifest.model_copy(update={"quality_gates": _OPEN}).sealed()
        (copy / "bundle.json").write_text(changed.model_dump_json(indent=2))
        yield copy


@dataclass(frozen=True)
class Verdict:
    """The verdict on one face, right or wrong."""

    quality: Quality
    live: bool
    wrong: bool


def verdicts(bundle: Path, root: Path, samples: Sequence) -> list[Verdict]:
    """Verdicts on the pictures with a face, at the bundle's operating point `eer`."""
    manifest = Manifest.model_validate_json((bundle / "bundle.json").read_text())
    threshold = manifest.operating_points["eer"].threshold
    with opened(bundle) as copy:
        judged = asyncio.run(judge(copy, root, samples, None))
    return [
        Verdict(case.answer.faces[0].quality, case.sample.live, (case.answer.score >= threshold) != case.sample.live)
        for case in judged
        if case.answer.score is not None
    ]


def by_tenths(values: np.ndarray, found: Sequence[Verdict]) -> list[dict[str, float]]:
    """Error rates of live pictures and of attacks in each tenth of a measure's values."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)))
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = [
            v for v, value in zip(found, values, strict=True) if low <= value < high or value == high == edges[-1]
        ]
        row = {"from": float(low), "to": float(high), "pictures": len(inside)}
        for name, live in (("bpcer", True), ("attacks_passed", False)):
            wrong = [v.wrong for v in inside if v.live is live]
            if len(wrong) >= 10:
                row[name] = float(np.mean(wrong))
        rows.append(row)
    return rows


def write_gates(bundle: Path, assignments: Sequence[str], version: str) -> None:
    """Set gates of a bundle, each given as NAME=VALUE, and its version. Its model card may have been changed before."""
    manifest = Manifest.model_validate_json((bundle / "bundle.json").read_text())
    values = {name: float(value) for name, _, value in (text.partition("=") for text in assignments)}
    gates = QualityGates.model_validate({**manifest.quality_gates.model_dump(), **values})
    files = dict(manifest.files)
    if _CARD in files:
        files[_CARD] = hashlib.sha256((bundle / _CARD).read_bytes()).hexdigest()
    changed = manifest.model_copy(update={"quality_gates": gates, "version": version, "files": files}).sealed()
    (bundle / "bundle.json").write_text(changed.model_dump_json(indent=2) + "\n")


def main() -> None:
    """Score the pictures, print the figures and write them with the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="GATE=VALUE")
    parser.add_argument("--version")
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--held-out", action="append", default=[], metavar="DOMAIN=BUNDLE")
    arguments = parser.parse_args()
    if arguments.set:
        if arguments.version is None:
            parser.error("--set needs --version: other gates give other answers")
        write_gates(arguments.bundle, arguments.set, arguments.version)
        return
    if arguments.data is None or arguments.out is None:
        parser.error("DATA and --out are needed")
    samples = read_index(arguments.data)
    # Domains of live pictures alone are left out: where attacks are simulated, all their people are trained on.
    attacked = {sample.domain for sample in samples if not sample.live}
    dev = [
        sample
        for sample, split in zip(samples, assign_splits(samples), strict=True)
        if split == "dev" and sample.domain in attacked
    ]
    found = verdicts(arguments.bundle, arguments.data, dev)
    for text in arguments.held_out:
        domain, _, bundle = text.partition("=")
        found += verdicts(Path(bundle), arguments.data, [sample for sample in samples if sample.domain == domain])
    gates = Manifest.model_validate_json((arguments.bundle / "bundle.json").read_text()).quality_gates
    report: dict[str, object] = {}
    figure, axes = plt.subplots(2, 5, figsize=(17, 6), constrained_layout=True)
    for axis, measure in zip(axes.flat, MEASURES, strict=False):
        values = np.array([measure.of(verdict.quality) for verdict in found])
        rows = by_tenths(values, found)
        report[measure.name] = rows
        for name, label in (("bpcer", "live refused"), ("attacks_passed", "attacks passed")):
            points = [((row["from"] + row["to"]) / 2, 100 * row[name]) for row in rows if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=label)
        for gate in measure.gates(gates):
            if values.min() - 1 <= gate <= values.max() * 1.5 + 1:
                axis.axvline(gate, color="black", linestyle=":")
        axis.set_xlabel(measure.name)
        axis.set_ylabel("wrong, %")
        axis.set_ylim(bottom=0)
    axes.flat[0].legend()
    refused = [verdict for verdict in found if refusals(verdict.quality, gates)]
    kept = [verdict for verdict in found if not refusals(verdict.quality, gates)]
    report["refused"] = {
        "pictures": len(refused),
        "share": len(refused) / len(found),
        "wrong": float(np.mean([verdict.wrong for verdict in refused])) if refused else 0.0,
    }
    report["kept"] = {"pictures": len(kept), "wrong": float(np.mean([verdict.wrong for verdict in kept]))}
    arguments.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out / "quality_gates.png", dpi=70)
    (arguments.out / "quality_gates.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
