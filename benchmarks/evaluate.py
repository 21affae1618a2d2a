"""Scores labelled pictures through the service's own pipeline, file in, verdict out, and gives the error rates.

    python benchmarks/evaluate.py DATA --out OUT [--bundle models/default] [--held-out DOMAIN=BUNDLE …] [--peer PEERS]

DATA: a folder with an index.csv (docs/training.md). The bundle is measured on the people of each domain that it was not
trained on; each held-out bundle, of the same recipe without a domain, on the whole of that domain. Thresholds are the
bundles' own operating points. The largest face counts. What gets no score is a non-response (APNRR, BPNRR), never
right. PEERS: a folder with the networks of Silent-Face-Anti-Spoofing, which are measured on the same faces with their
own crop rule.
"""

import argparse
import asyncio
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from silent_face import SilentFace

from liveness_core.bundle import Manifest
from liveness_service.decoding.image import ImageLimits, decode_image
from liveness_service.inference.pipeline import ScoreOptions
from liveness_service.inference.results import FacePolicy, ImageResult
from liveness_service.inference.service import LivenessService
from liveness_service.observability.metrics import Metrics
from liveness_service.settings import Settings
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import Sample, read_index
from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.metrics import Scored, apcer, apcer_by_species, auc, bpcer, eer

_AT_ONCE = 4


@dataclass(frozen=True)
class Judged:
    """A picture and what the service said."""

    sample: Sample
    answer: ImageResult
    peer: float | None
    """The reference's score of the same face."""

    @property
    def found(self) -> bool:
        """Whether there was a face."""
        return bool(self.answer.faces)


async def judge(bundle: Path, root: Path, samples: Sequence[Sample], peer: SilentFace | None) -> list[Judged]:
    """Answer for each picture what `POST /v1/liveness` would."""
    service = LivenessService(Settings(bundle_path=bundle, deadline_ms=60_000, log_level="error"), Metrics())
    await service.start()
    if service.fault is not None:
        raise SystemExit(f"{bundle}: {service.fault.file}: {service.fault.reason}")
    places = asyncio.Semaphore(_AT_ONCE)
    options = ScoreOptions(faces=FacePolicy.LARGEST)

    async def one(sample: Sample) -> Judged:
        async with places:
            content = (root / sample.path).read_bytes()
            answer = await service.score(content, options)
            score = None
            if peer is not None and answer.faces:
                picture = await asyncio.to_thread(decode_image, content, ImageLimits(service.settings.max_pixels))
                score = await asyncio.to_thread(peer.score, picture, answer.faces[0].face.box)
        return Judged(sample, answer, score)

    try:
        return list(await asyncio.gather(*map(one, samples)))
    finally:
        await service.close()


def scored(judged: Sequence[Judged], scores: Sequence[float | None]) -> Scored:
    """Those that have a score; people are the clusters."""
    kept = [(each.sample, score) for each, score in zip(judged, scores, strict=True) if score is not None]
    return Scored.of(
        [score for _, score in kept],
        [sample.live for sample, _ in kept],
        [sample.species for sample, _ in kept],
        [f"{sample.domain}/{sample.subject}" for sample, _ in kept],
    )


def figures(judged: Sequence[Judged], manifest: Manifest) -> dict[str, float]:
    """Of one domain: rates in [0, 1]."""
    ours = scored(judged, [each.answer.score for each in judged])
    live = [each for each in judged if each.sample.live]
    attacks = [each for each in judged if not each.sample.live]
    values = {
        "presentations": float(len(judged)),
        "found": sum(each.found for each in judged) / len(judged),
        "found_live": sum(each.found for each in live) / len(live),
        "found_attacks": sum(each.found for each in attacks) / len(attacks),
        "bpnrr": sum(each.answer.score is None for each in live) / len(live),
        "apnrr": sum(each.answer.score is None for each in attacks) / len(attacks),
    }
    for reason, count in Counter(reason for each in judged for reason in each.answer.reasons).items():
        values[f"refused/{reason}"] = count / len(judged)
    if not ours.has_both:  # there are no error rates to give
        return values
    values |= {"auc": auc(ours), "eer": eer(ours)[0]}
    for name, (low, high) in intervals(ours, None).items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    for name, point in manifest.operating_points.items():
        values |= {
            f"apcer@{name}": apcer(ours, point.threshold),
            f"bpcer@{name}": bpcer(ours, point.threshold),
            **{f"apcer@{name}/{key}": rate for key, rate in apcer_by_species(ours, point.threshold).items()},
        }
    if any(each.peer is not None for each in judged):
        theirs = scored(judged, [each.peer for each in judged])
        values |= {
            "peer_auc": auc(theirs),
            "peer_eer": eer(theirs)[0],
            "peer_apcer@0.5": apcer(theirs, 0.5),
            "peer_bpcer@0.5": bpcer(theirs, 0.5),
        }
    return values


_COLUMNS = (
    ("presentations", "pictures"),
    ("found", "face found"),
    ("apnrr", "APNRR"),
    ("bpnrr", "BPNRR"),
    ("auc", "AUC"),
    ("eer", "EER"),
    *(
        (f"{rate}@{name}", f"{rate.upper()} {name}")
        for name in ("eer", "apcer5", "apcer1")
        for rate in ("apcer", "bpcer")
    ),
    ("peer_auc", "AUC peer"),
    ("peer_eer", "EER peer"),
    ("peer_apcer@0.5", "APCER peer"),
    ("peer_bpcer@0.5", "BPCER peer"),
)


def table(report: Mapping[str, Mapping[str, float]]) -> str:
    """In percent, as Markdown."""
    columns = [(key, title) for key, title in _COLUMNS if any(key in values for values in report.values())]
    lines = [f"| data | {' | '.join(title for _, title in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, values in report.items():
        lines.append(f"| {name} | {' | '.join(_cell(values, key) for key, _ in columns)} |")
    return "\n".join(lines)


def _cell(values: Mapping[str, float], key: str) -> str:
    if key == "presentations":
        return f"{values[key]:.0f}"
    shown = f"{100 * values[key]:.1f}" if key in values else "–"
    if f"{key}_low" in values:
        shown += f" [{100 * values[f'{key}_low']:.1f}, {100 * values[f'{key}_high']:.1f}]"
    return shown


def write_answers(path: Path, answers: Sequence[tuple[str, Judged]]) -> None:
    """A line for each picture: what to look at when figures surprise."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["data", "path", "label", "attack", "verdict", "score", "reasons", "peer"])
        for name, each in answers:
            sample, answer = each.sample, each.answer
            label = "live" if sample.live else "spoof"
            reasons = " ".join(answer.reasons)
            rows.writerow([name, sample.path, label, sample.species, answer.verdict, answer.score, reasons, each.peer])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--held-out", action="append", default=[], metavar="DOMAIN=BUNDLE")
    parser.add_argument("--peer", type=Path)
    arguments = parser.parse_args()
    samples = read_index(arguments.data)
    splits = assign_splits(samples)
    labels: dict[str, set[bool]] = {}
    for sample in samples:
        labels.setdefault(sample.domain, set()).add(sample.live)
    domains = sorted(domain for domain, both in labels.items() if len(both) == 2)
    parts = {
        f"unseen people/{domain}": (
            arguments.bundle,
            [
                sample
                for sample, split in zip(samples, splits, strict=True)
                if sample.domain == domain and split == "test"
            ],
        )
        for domain in domains
    }
    for text in arguments.held_out:
        domain, _, bundle = text.partition("=")
        parts[f"unseen domain/{domain}"] = (Path(bundle), [sample for sample in samples if sample.domain == domain])
    peer = SilentFace(arguments.peer) if arguments.peer else None
    report, answers = {}, []
    for name, (bundle, part) in parts.items():
        if len({sample.live for sample in part}) < 2:  # nobody was kept for a test
            continue
        manifest = Manifest.model_validate_json((bundle / "bundle.json").read_text())
        judged = asyncio.run(judge(bundle, arguments.data, part, peer))
        report[name] = figures(judged, manifest)
        answers += [(name, each) for each in judged]
        print(f"{name}: {len(part)} pictures", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_answers(arguments.out / "answers.csv", answers)
    (arguments.out / "figures.json").write_text(json.dumps(report, indent=2) + "\n")
    text = table(report)
    (arguments.out / "figures.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
