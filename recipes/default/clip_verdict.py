"""Compare what a clip's score can be made of on domains kept out: the mean of its frames, a temporal head, or both.

    python recipes/default/clip_verdict.py DATA PUBLIC.npz RUNS [--limit 8]

The arguments are those of `committee.py`. A clip is a recording of DATA; its frames have the members' calibrated
log-odds, each from members that did not train on the domain. The head is an LSTM over them, trained on the other
domains' clips with temporal jitter: random start, length and spacing. Short recordings are stretched, live and attacks
of a domain to the same number of different frames. `both` adds the two at equal variance. Thresholds come from the
other domains.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from committee import Faces, calibration, read_faces
from numpy.typing import NDArray
from torch import nn

from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.metrics import Scored, apcer, auc, bpcer, eer
from liveness_training.models.network import TemporalHead

# N faces, M members, B clips, T frames of a clip

T = 8
_STEPS, _EACH, _SEEDS = 600, 16, 3
_SHARED_NOISE = 0.2
"""Deviation of a shift that all frames of a training clip share: the cameras' own shift is not to be learned."""


class Clips:
    """The recordings of a domain.

    Args:
        faces: the faces.
        domain: the domain.
    """

    def __init__(self, faces: Faces, domain: str) -> None:
        found: dict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(faces.domain == domain).tolist():
            found[faces.samples[row].recording].append(row)
        several = [sorted(rows, key=lambda row: faces.samples[row].path) for rows in found.values() if len(rows) > 1]
        lengths = [
            sorted(len(rows) for rows in several if faces.samples[rows[0]].live is live) for live in (True, False)
        ]
        self.frames = min(T, *(counts[len(counts) // 2] for counts in lengths if counts)) if all(lengths) else 0
        self.rows = [rows for rows in several if len(rows) >= self.frames > 1]
        self.live = np.array([faces.samples[rows[0]].live for rows in self.rows])
        self._faces = faces

    def taken(self, random: np.random.Generator | None = None, of: Sequence[int] | None = None) -> NDArray[np.int64]:
        """Rows of each clip's frames, (B, T): evenly spaced, or with temporal jitter."""
        chosen = range(len(self.rows)) if of is None else of
        return np.array([self._frames(self.rows[clip], random) for clip in chosen])

    def _frames(self, rows: Sequence[int], random: np.random.Generator | None) -> list[int]:
        count, k = len(rows), self.frames
        if random is None:
            places = [(2 * part + 1) * count // (2 * k) for part in range(k)]
        else:
            length = random.uniform(max(0.5, min(1.0, k / count)), 1) * count
            start = random.uniform(0, count - length)
            spread = np.sort((np.arange(k) + random.uniform(0, 1, k)) / k)
            places = np.minimum((start + spread * length).astype(int), count - 1).tolist()
        return [rows[places[(2 * part + 1) * k // (2 * T)]] for part in range(T)]

    def scored(self, score_B: NDArray[np.float64]) -> Scored:
        """Scores of the clips, clustered by person."""
        first = [self._faces.samples[rows[0]] for rows in self.rows]
        people = [f"{sample.domain}/{sample.subject}" for sample in first]
        return Scored.of(score_B, self.live, [sample.species for sample in first], people)


def trained(domains: Sequence[Clips], y_NM: NDArray[np.float64], seed: int) -> TemporalHead:
    """A head trained on some domains' clips, each domain and label equally often."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    head = TemporalHead(y_NM.shape[1], hidden=16)
    optimiser = torch.optim.AdamW(head.parameters(), 3e-3, weight_decay=1e-2)
    for _ in range(_STEPS):
        rows, labels = [], []
        for clips in domains:
            for label in (True, False):
                rows.append(clips.taken(random, random.choice(np.flatnonzero(clips.live == label), _EACH).tolist()))
                labels += [int(not label)] * _EACH
        clips_BTM = torch.from_numpy(y_NM[np.concatenate(rows)]).float()
        shifted_BTM = clips_BTM + _SHARED_NOISE * torch.randn(len(labels), 1, y_NM.shape[1])
        loss = nn.functional.cross_entropy(head(shifted_BTM), torch.tensor(labels), label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval()


def compared(faces: Faces, limit: float) -> list[str]:
    """Lines of a Markdown table."""
    names = sorted({*faces.domain.tolist()})
    domains = {name: clips for name in names if len((clips := Clips(faces, name)).rows)}
    lines = ["| kept out | score | AUC | EER | BPCER | APCER |", "| --- " * 6 + "|"]
    for kept_out, own in domains.items():
        others = {name: clips for name, clips in domains.items() if name != kept_out}
        calibration_M2 = calibration(faces, faces.domain != kept_out)
        y_NM = np.clip(faces.x_NM * calibration_M2[:, 0] + calibration_M2[:, 1], -limit, limit)
        heads = [trained([*others.values()], y_NM, seed) for seed in range(_SEEDS)]

        def scores(clips: Clips, y_NM: NDArray[np.float64] = y_NM, heads: Sequence[TemporalHead] = heads) -> Scores:
            frames_BTM = y_NM[clips.taken()]
            with torch.no_grad():
                logits = torch.stack([head(torch.from_numpy(frames_BTM).float()) for head in heads]).mean(0)
            return {"frame mean": frames_BTM.mean((1, 2)), "head": (logits[:, 0] - logits[:, 1]).double().numpy()}

        mine, theirs = scores(own), {name: scores(clips) for name, clips in others.items()}
        for table in (mine, *theirs.values()):
            scale = {
                key: np.concatenate([each[key] for each in theirs.values()]).std() for key in ("frame mean", "head")
            }
            table["both"] = sum(table[key] / scale[key] for key in scale)
        for key, score_B in mine.items():
            threshold = least_errors([(each[key], others[name].live) for name, each in theirs.items()])
            scored = own.scored(score_B)
            low, high = intervals(scored, None, replicates=500)["auc"]
            lines.append(
                f"| {kept_out}, {own.live.sum()} live, {(~own.live).sum()} attacks | {key} | {100 * auc(scored):.1f} "
                f"[{100 * low:.1f}, {100 * high:.1f}] | {100 * eer(scored)[0]:.1f} "
                f"| {100 * bpcer(scored, threshold):.1f} | {100 * apcer(scored, threshold):.1f} |"
            )
    return lines


Scores = dict[str, NDArray[np.float64]]


def least_errors(domains: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    """The threshold with the least sum of both error rates over some domains' scores."""
    candidates = np.unique(np.concatenate([scores for scores, _ in domains]))
    errors = [
        sum((scores[live] < threshold).mean() + (scores[~live] >= threshold).mean() for scores, live in domains)
        for threshold in candidates
    ]
    return float(candidates[int(np.argmin(errors))])


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "public", "runs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--limit", type=float, default=8.0)
    options = parser.parse_args()
    print("\n".join(compared(read_faces(options.data, options.public, options.runs), options.limit)))


if __name__ == "__main__":
    main()
