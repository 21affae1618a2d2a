"""Combine the members of the committee on domains kept out: tables, calibration and thresholds.

    python recipes/default/committee.py DATA PUBLIC.npz RUNS OUT [--limit 8]

DATA is a folder with an index.csv. PUBLIC.npz holds log-odds of the published members (`committee_scores.py`). RUNS
holds the runs of ours, `NAME-without-DOMAIN` for each domain; a domain is scored by the runs that did not train on it.
The calibration of each member, and the threshold that a domain is judged at, come from the other domains. OUT gets
`tables.md`; `committee_bundle.py` makes the bundle's own calibration and thresholds from all domains.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from liveness_training.data.samples import Sample, read_index
from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.metrics import Scored, apcer, auc, bpcer, eer
from liveness_training.evaluation.score_file import read_scores

# N faces, M members

REFERENCE = ("silent_face_2_7", "silent_face_4_0")
TRAINED_ON = {"face_antispoof": "celeba_spoof"}
"""Published members that saw one of the domains."""
OURS = ("context",)
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

    def without(self, domain: str) -> "Faces":
        """The faces of the other domains."""
        rows = np.flatnonzero(self.domain != domain)
        samples = tuple(self.samples[row] for row in rows.tolist())
        return Faces(samples, self.members, self.x_NM[rows], self.weight_N[rows])

    def scored(self, score_N: NDArray[np.float64], rows_N: NDArray[np.bool_]) -> Scored:
        """Scores of some faces, clustered by person."""
        kept = [(sample, score) for sample, score, row in zip(self.samples, score_N, rows_N, strict=True) if row]
        return Scored.of(
            [score for _, score in kept],
            [sample.live for sample, _ in kept],
            [sample.species for sample, _ in kept],
            [f"{sample.domain}/{sample.subject}" for sample, _ in kept],
        )


def read_faces(data: Path, public: Path, runs: Path | None, *, unseen_people: bool = False) -> Faces:
    """The faces of all domains with attacks that all members scored.

    Args:
        data: folder with an index.csv.
        public: scores of the published members.
        runs: folder of our runs; None reads the published members alone.
        unseen_people: False takes from ours the scores of domains kept out. True takes those of the runs on all
            domains, of people whom these were not trained on.
    """
    samples = {sample.path: sample for sample in read_index(data)}
    domains = sorted({sample.domain for sample in samples.values() if not sample.live})
    with np.load(public) as file:
        paths = file["path"].tolist()
        found = {name: dict(zip(paths, file[name].tolist(), strict=True)) for name in file.files if name != "path"}
    for member in OURS if runs is not None else ():
        assert runs is not None
        parts = {f"test/{domain}" if unseen_people else f"held_out/{domain}" for domain in domains}
        folders = ["all"] if unseen_people else [f"without-{domain}" for domain in domains]
        found[member] = {}
        for folder in folders:
            for line in read_scores(runs / f"{member}-{folder}" / "scores.csv"):
                score, sample = line.presentation.score, line.presentation.sample
                if line.level == "frame" and line.part in parts and score is not None:
                    share = min(max(score, _EDGE), 1 - _EDGE)
                    found[member][sample.path.removeprefix(f"{sample.domain}/")] = float(np.log(share / (1 - share)))
    kept = [path for path in samples if samples[path].domain in domains and all(path in one for one in found.values())]
    x_NM = np.array([[one[path] for one in found.values()] for path in kept])
    chosen = tuple(samples[path] for path in kept)
    return Faces(chosen, tuple(found), x_NM, _weights(chosen))


def _weights(samples: Sequence[Sample]) -> NDArray[np.float64]:
    groups = [(sample.domain, sample.live) for sample in samples]
    counts = {group: groups.count(group) for group in set(groups)}
    return np.array([1 / counts[group] for group in groups])


def calibration(faces: Faces, rows_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Slope and offset of each member, shape (M, 2): afterwards its values are log-odds of live on some faces.

    By logistic regression (Platt, 1999). A weak member gets a small slope, so that it counts for little in the sum. A
    member that was trained on a domain is calibrated without it.
    """
    sign_N = np.where(faces.live, 1.0, -1.0)
    found = []
    for name, x_N in zip(faces.members, faces.x_NM.T, strict=True):
        rows = rows_N & (faces.domain != TRAINED_ON.get(name, ""))
        scale = x_N[rows].std()

        def loss(
            line: NDArray[np.float64],
            x: NDArray[np.float64] = x_N[rows] / scale,
            sign: NDArray[np.float64] = sign_N[rows],
            weight: NDArray[np.float64] = faces.weight_N[rows],
        ) -> float:
            return float((weight * np.logaddexp(0, -sign * (line[0] * x + line[1]))).sum())

        best = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9}).x
        found.append([best[0] / scale, best[1]])
    return np.array(found)


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


if __name__ == "__main__":
    main()
