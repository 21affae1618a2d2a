"""Combine the members of the committee on domains kept out: tables, calibration and thresholds.

    python recipes/default/committee.py DATA PUBLIC.npz RUNS OUT [--limit 8]

DATA is a folder with an index.csv. PUBLIC.npz holds log-odds of the published members (`committee_scores.py`). RUNS
holds the runs of ours, `NAME-without-DOMAIN` for each domain; a domain is scored by the runs that did not train on it.
The scale of each member, and the thresholds that a domain is judged at, come from the other domains. What is written to
OUT: `tables.md`, and `committee.json` with the calibration and thresholds from all domains, for the bundle.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liveness_training.data.samples import Sample, read_index
from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.calibration import fit_temperature, operating_points
from liveness_training.evaluation.metrics import Scored, apcer, auc, bpcer, eer
from liveness_training.evaluation.score_file import read_scores

# N faces, M members

REFERENCE = ("silent_face_2_7", "silent_face_4_0")
TRAINED_ON = {"face_antispoof": "celeba_spoof"}
"""Published members that saw one of the domains."""
OURS = ("context", "texture")
_EDGE = 1e-9
"""Scores nearer to 0 or 1 than this have lost their digits."""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces that every member scored."""

    samples: tuple[Sample, ...]
    members: tuple[str, ...]
    x_NM: NDArray[np.float64]
    """Log-odds of live of each member, as it gives them."""
    weight_N: NDArray[np.float64]
    """Weight of a face when domains are pooled: every domain counts the same, and so do its labels."""

    @property
    def live(self) -> NDArray[np.bool_]:
        """True for bona fide."""
        return np.array([sample.live for sample in self.samples])

    @property
    def domain(self) -> NDArray[np.str_]:
        """Domain of each face."""
        return np.array([sample.domain for sample in self.samples])

    def scored(self, score_N: NDArray[np.float64], rows_N: NDArray[np.bool_]) -> Scored:
        """Scores of some faces, clustered by person."""
        kept = [(sample, score) for sample, score, row in zip(self.samples, score_N, rows_N, strict=True) if row]
        return Scored.of(
            [score for _, score in kept],
            [sample.live for sample, _ in kept],
            [sample.species for sample, _ in kept],
            [f"{sample.domain}/{sample.subject}" for sample, _ in kept],
        )


def read_faces(data: Path, public: Path, runs: Path) -> Faces:
    """The faces of all domains with attacks, scored by members that did not train on them (see `TRAINED_ON`)."""
    samples = {sample.path: sample for sample in read_index(data)}
    domains = sorted({sample.domain for sample in samples.values() if not sample.live})
    with np.load(public) as file:
        paths = file["path"].tolist()
        found = {name: dict(zip(paths, file[name].tolist(), strict=True)) for name in file.files if name != "path"}
    for member in OURS:
        found[member] = {}
        for domain in domains:
            for row in read_scores(runs / f"{member}-without-{domain}" / "scores.csv"):
                score = row.presentation.score
                if row.level == "frame" and row.part == f"held_out/{domain}" and score is not None:
                    share = min(max(score, _EDGE), 1 - _EDGE)
                    found[member][row.presentation.name] = float(np.log(share / (1 - share)))
    kept = [path for path in samples if samples[path].domain in domains and all(path in one for one in found.values())]
    x_NM = np.array([[one[path] for one in found.values()] for path in kept])
    chosen = tuple(samples[path] for path in kept)
    return Faces(chosen, tuple(found), x_NM, _weights(chosen))


def _weights(samples: Sequence[Sample]) -> NDArray[np.float64]:
    groups = [(sample.domain, sample.live) for sample in samples]
    counts = {group: groups.count(group) for group in set(groups)}
    return np.array([1 / counts[group] for group in groups])


def calibration(faces: Faces, rows_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Slope and offset of each member, shape (M, 2), from some faces.

    Afterwards every member has the same variance, 4, and the middle between the means of both labels is 0.
    """
    weight_N1 = (faces.weight_N * rows_N)[:, None]
    live_N1 = faces.live[:, None]
    mean_M = (weight_N1 * faces.x_NM).sum(0) / weight_N1.sum()
    deviation_M = np.sqrt((weight_N1 * (faces.x_NM - mean_M) ** 2).sum(0) / weight_N1.sum())
    middles = [
        (weight_N1 * label_N1 * faces.x_NM).sum(0) / (weight_N1 * label_N1).sum() for label_N1 in (live_N1, ~live_N1)
    ]
    slope_M = 2 / deviation_M
    return np.stack([slope_M, -slope_M * (middles[0] + middles[1]) / 2], axis=1)


def combined(
    faces: Faces, calibration_M2: NDArray[np.float64], members: Sequence[str], limit: float
) -> NDArray[np.float64]:
    """Mean of some members' calibrated log-odds, each at most `limit` from 0, shape (N,)."""
    y_NM = np.clip(faces.x_NM * calibration_M2[:, 0] + calibration_M2[:, 1], -limit, limit)
    return np.asarray(y_NM[:, [faces.members.index(name) for name in members]].mean(1))


def balanced_threshold(faces: Faces, score_N: NDArray[np.float64], rows_N: NDArray[np.bool_]) -> float:
    """The threshold with the least sum of both error rates, every domain counting the same."""
    order = np.flatnonzero(rows_N)[np.argsort(score_N[rows_N], kind="stable")]
    weight, live = faces.weight_N[order], faces.live[order]
    refused = np.r_[0, np.cumsum(weight * live)]
    passed = (weight * ~live).sum() - np.r_[0, np.cumsum(weight * ~live)]
    cut = int(np.argmin(refused + passed))
    ordered = score_N[order]
    return float((ordered[max(cut - 1, 0)] + ordered[min(cut, len(order) - 1)]) / 2)


def row(faces: Faces, members: Sequence[str], limit: float) -> dict[str, dict[str, float]]:
    """For each domain the figures of some members together, with scale and threshold from the other domains."""
    figures = {}
    for domain in sorted({*faces.domain.tolist()}):
        here_N = faces.domain == domain
        score_N = combined(faces, calibration(faces, ~here_N), members, limit)
        threshold = balanced_threshold(faces, score_N, ~here_N)
        scored = faces.scored(score_N, here_N)
        figures[domain] = {
            "auc": auc(scored),
            "eer": eer(scored)[0],
            "apcer": apcer(scored, threshold),
            "bpcer": bpcer(scored, threshold),
        }
        for name, (low, high) in intervals(scored, None, replicates=500).items():
            figures[domain] |= {f"{name}_low": low, f"{name}_high": high}
    return figures


def combinations(members: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name -> members: each alone, the published ones, all, and all without each."""
    public = tuple(name for name in members if name not in OURS)
    chosen = {name: (name,) for name in members}
    chosen |= {"reference": REFERENCE, "published three": public, "ours": OURS, "committee": tuple(members)}
    for name in members:
        chosen[f"committee without {name}"] = tuple(other for other in members if other != name)
    chosen["committee without the reference"] = tuple(name for name in members if name not in REFERENCE)
    return chosen


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """AUC and EER with intervals, then APCER and BPCER at `balanced`, in percent."""
    domains = list(next(iter(rows.values())))
    lines = [f"| AUC / EER (APCER, BPCER) | {' | '.join(domains)} | mean |", "| --- " * (len(domains) + 2) + "|"]
    for name, figures in rows.items():
        cells = []
        for value in figures.values():
            auc_, eer_ = (
                f"{100 * value[key]:.1f} [{100 * value[f'{key}_low']:.1f}, {100 * value[f'{key}_high']:.1f}]"
                for key in ("auc", "eer")
            )
            cells.append(f"{auc_} / {eer_} ({100 * value['apcer']:.0f}, {100 * value['bpcer']:.0f})")
        means = [100 * np.mean([value[key] for value in figures.values()]) for key in ("auc", "eer")]
        lines.append(f"| {name} | {' | '.join(cells)} | {means[0]:.1f} / {means[1]:.1f} |")
    return "\n".join(lines)


def for_bundle(faces: Faces, limit: float) -> dict[str, object]:
    """Calibration, temperature and thresholds from all domains, each scored by members that did not train on it."""
    everything_N = np.ones(len(faces.samples), bool)
    calibration_M2 = calibration(faces, everything_N)
    score_N = combined(faces, calibration_M2, faces.members, limit)
    temperature = fit_temperature(score_N, faces.live)
    probability_N = 1 / (1 + np.exp(-score_N / temperature))
    scored = faces.scored(probability_N, everything_N)
    chosen_on = (
        f"pooled scores of {', '.join(sorted({*faces.domain.tolist()}))}, each by members that did not train on it"
    )
    points: dict[str, object] = {
        name: point.model_dump() for name, point in operating_points(scored, chosen_on).items()
    }
    threshold = balanced_threshold(faces, probability_N, everything_N)
    points["balanced"] = {
        "threshold": threshold,
        "chosen_on": chosen_on,
        "apcer": apcer(scored, threshold),
        "bpcer": bpcer(scored, threshold),
    }
    return {
        "calibration": {
            name: {"slope": float(slope), "offset": float(offset)}
            for name, (slope, offset) in zip(faces.members, calibration_M2, strict=True)
        },
        "limit": limit,
        "weight": 1 / len(faces.members),
        "temperature": temperature,
        "operating_points": points,
    }


def main() -> None:
    """Combine, print the tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "public", "runs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--limit", type=float, default=8.0, help="Largest calibrated log-odds of a member.")
    options = parser.parse_args()
    faces = read_faces(options.data, options.public, options.runs)
    text = table({name: row(faces, chosen, options.limit) for name, chosen in combinations(faces.members).items()})
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tables.md").write_text(text + "\n")
    (options.out / "committee.json").write_text(json.dumps(for_bundle(faces, options.limit), indent=1) + "\n")


if __name__ == "__main__":
    main()
