"""Score labelled pictures through the service's own pipeline, file in, verdict out, and print the error rates.

    python recipes/default/evaluate.py DATA --out OUT [--bundle models/default] [--held-out DOMAIN=BUNDLE …]
        [--peer PEERS]

DATA is a folder with an index.csv (see docs/training.md). The bundle is measured on the test people of each domain,
whom it was not trained on. A held-out bundle comes from the same recipe without one domain and is measured on that
whole domain. Thresholds are the bundles' own operating points. In a picture with several faces the largest counts. A
picture without a score is a non-response (APNRR, BPNRR) and never counts as right. PEERS is a folder with the networks
of Silent-Face-Anti-Spoofing, the reference: they are measured on the same faces, with their own crop rule.
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
from liveness_service.observability.metrics import Metrics
from liveness_service.results import ImageResult
from liveness_service.service import LivenessService
from liveness_service.settings import Settings
from liveness_service.submission import Endpoint, FacePolicy, ScoreOptions, Submission
from liveness_training.data.protocols import assign_splits
from liveness_training.data.samples import Sample, read_index
from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.metrics import Scored, apcer, apcer_by_species, auc, bpcer, eer

_AT_ONCE = 4


@dataclass(frozen=True)
class Judged:
    """A labelled picture with the service's answer."""

    sample: Sample
    answer: ImageResult
    peer: float | None
    """The reference's score for the same face, in [0, 1]; None where no reference is measured or no face was found."""

    @property
    def found(self) -> bool:
        """Whether the service found a face."""
        return bool(self.answer.faces)


async def judge(bundle: Path, root: Path, samples: Sequence[Sample], peer: SilentFace | None) -> list[Judged]:
    """Answer every picture as `POST /v1/liveness` would."""
    service = LivenessService(Settings(bundle_path=bundle, deadline_ms=60_000, log_level="error"), Metrics())
    await service.start()
    if service.fault is not None:
        raise SystemExit(f"{bundle}: {service.fault.file}: {service.fault.reason}")
    slots = asyncio.Semaphore(_AT_ONCE)
    options = ScoreOptions(faces=FacePolicy.LARGEST)

    async def one(sample: Sample) -> Judged:
        async with slots:
            content = (root / sample.path).read_bytes()
            answer = await service.score(Submission(Endpoint.PHOTO, content, options))
            assert isinstance(answer, ImageResult)
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
    """The pictures that have a score, grouped by person for the bootstrap."""
    kept = [(case.sample, score) for case, score in zip(judged, scores, strict=True) if score is not None]
    return Scored.of(
        [score for _, score in kept],
        [sample.live for sample, _ in kept],
        [sample.species for sample, _ in kept],
        [f"{sample.domain}/{sample.subject}" for sample, _ in kept],
    )


def figures(judged: Sequence[Judged], manifest: Manifest) -> dict[str, float]:
    """Figures of one domain; rates in [0, 1]."""
    ours = scored(judged, [case.answer.score for case in judged])
    live = [case for case in judged if case.sample.live]
    attacks = [case for case in judged if not case.sample.live]
    values = {
        "presentations": float(len(judged)),
        "found": sum(case.found for case in judged) / len(judged),
        "found_live": sum(case.found for case in live) / len(live),
        "found_attacks": sum(case.found for case in attacks) / len(attacks),
        "bpnrr": sum(case.answer.score is None for case in live) / len(live),
        "apnrr": sum(case.answer.score is None for case in attacks) / len(attacks),
    }
    for reason, count in Counter(reason for case in judged for reason in case.answer.reasons).items():
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
    if any(case.peer is not None for case in judged):
        theirs = scored(judged, [case.peer for case in judged])
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
        for name in ("balanced", "eer", "apcer5", "apcer1")
        for rate in ("apcer", "bpcer")
    ),
    ("peer_auc", "AUC peer"),
    ("peer_eer", "EER peer"),
    ("peer_apcer@0.5", "APCER peer"),
    ("peer_bpcer@0.5", "BPCER peer"),
)


def table(report: Mapping[str, Mapping[str, float]]) -> str:
    """The report as a Markdown table, in percent."""
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
    """Write one line a picture, to look at when a figure surprises."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["data", "path", "label", "attack", "verdict", "score", "reasons", "peer"])
        for name, case in answers:
            sample, answer = case.sample, case.answer
            label = "live" if sample.live else "spoof"
            reasons = " ".join(answer.reasons)
            rows.writerow([name, sample.path, label, sample.species, answer.verdict, answer.score, reasons, case.peer])


def main() -> None:
    """Measure, print the table and write the files to OUT."""
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
        answers += [(name, case) for case in judged]
        print(f"{name}: {len(part)} pictures", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_answers(arguments.out / "answers.csv", answers)
    (arguments.out / "figures.json").write_text(json.dumps(report, indent=2) + "\n")
    text = table(report)
    (arguments.out / "figures.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
