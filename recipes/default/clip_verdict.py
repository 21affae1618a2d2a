"""Compare what a clip's score can be made of on domains kept out: its frames, a temporal head, or both.

    liveness-train embed models/default DATA --out EMBEDDED.npz          # once; several archives may be given below
    python recipes/default/clip_verdict.py EMBEDDED.npz … [--bundle models/default] [--pictures DATA] [--limit 8]

A clip is a recording of DATA; its frames have the calibrated log-odds of the members that never saw its domain
(`kept_out.py`). The head is an LSTM over them, trained on the other domains' clips with temporal jitter: random start,
length and spacing. Short recordings are stretched, live and attacks of a domain to the same number of different frames.
`both` adds head and mean at equal variance.

The first table has thresholds from the other domains. The second has one threshold for all domains, the one with the
least errors on all of them, which is how a bundle's `balanced` is chosen. With `--pictures` a third one says what is
left of it where the rule of stills has a word, on the domains whose pictures are whole: the frames of a recording are
its glances. A clip that is a still gets no verdict, so it is neither live nor passed.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from committee import Faces, calibration
from kept_out import LIMIT, members_for, read_embedded
from numpy.typing import NDArray
from recordings import Clips, least_errors
from torch import nn

from liveness_core.bundle import Manifest, default_bundle_path
from liveness_core.bundle.load import read_manifest
from liveness_core.clips import glance_of, is_still
from liveness_core.detection import FaceDetector, create_detector
from liveness_core.detection.tracking import FaceTracker
from liveness_core.video import VideoFrame
from liveness_training.data.cutting import read_picture
from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.metrics import Scored, apcer, auc, bpcer, eer
from liveness_training.models.network import TemporalHead

# N faces, M members, B clips, T frames of a clip

_STEPS, _EACH, _SEEDS = 600, 16, 3
_WHOLE_PICTURES = {"replay_attack", "nuaa"}
"""Domains whose recordings have whole frames; those of casia_fasd are crops that move with the face."""
_NO_VERDICT = -1e9
_SHARED_NOISE = 0.2
"""Deviation of a shift that all frames of a training clip share: the cameras' own shift is not to be learned."""


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


def compared(faces: Faces, limit: float) -> tuple[list[str], "dict[str, dict[str, Scored]]"]:
    """Lines of a Markdown table with thresholds from other domains; and by domain and score the scored clips."""
    names = sorted({*faces.domain.tolist()})
    domains = {name: clips for name in names if len((clips := Clips(faces, name)).rows)}
    lines = ["| kept out | score | AUC | EER | BPCER | attacks that pass | of the worst species |", "| --- " * 7 + "|"]
    kept: dict[str, dict[str, Scored]] = {}
    for kept_out, own in domains.items():
        others = {name: clips for name, clips in domains.items() if name != kept_out}
        calibration_M2 = calibration(faces, faces.domain != kept_out)
        y_NM = np.clip(faces.x_NM * calibration_M2[:, 0] + calibration_M2[:, 1], -limit, limit)
        y_NM = y_NM[:, [faces.members.index(name) for name in members_for(faces, kept_out)]]
        heads = [trained([*others.values()], y_NM, seed) for seed in range(_SEEDS)]
        mine = of_frames(y_NM[own.taken()], heads)
        theirs = {name: of_frames(y_NM[clips.taken()], heads) for name, clips in others.items()}
        for table in (mine, *theirs.values()):
            scale = {key: np.concatenate([each[key] for each in theirs.values()]).std() for key in ("mean", "head")}
            table["both"] = sum(table[key] / scale[key] for key in scale)
        kept[kept_out] = {key: own.scored(score_B) for key, score_B in mine.items()}
        for key, scored in kept[kept_out].items():
            threshold = least_errors([(each[key], others[name].live) for name, each in theirs.items()])
            low, high = intervals(scored, None, replicates=500)["auc"]
            lines.append(
                f"| {kept_out}, {own.live.sum()} live, {(~own.live).sum()} attacks | {key} | {100 * auc(scored):.1f} "
                f"[{100 * low:.1f}, {100 * high:.1f}] | {100 * eer(scored)[0]:.1f} "
                f"| {rates(one_species(scored), threshold)} | {100 * apcer(scored, threshold):.1f} |"
            )
    return lines, kept


Scores = dict[str, NDArray[np.float64]]


def of_frames(frames_BTM: NDArray[np.float64], heads: Sequence[TemporalHead]) -> Scores:
    """What a clip's score could be, each of shape (B,), from the log-odds of its frames by each member."""
    frame_BT, member_BM = frames_BTM.mean(2), frames_BTM.mean(1)
    with torch.no_grad():
        logits = torch.stack([head(torch.from_numpy(frames_BTM).float()) for head in heads]).mean(0)
    return {
        "mean": frame_BT.mean(1),
        "median frame": np.median(frame_BT, 1),
        "lower quarter": np.quantile(frame_BT, 0.25, 1),
        "least frame": frame_BT.min(1),
        "largest frame": frame_BT.max(1),
        "mean less deviation": frame_BT.mean(1) - frame_BT.std(1),
        "least member": member_BM.min(1),
        "median member": np.median(member_BM, 1),
        "head": (logits[:, 0] - logits[:, 1]).double().numpy(),
    }


def one_species(scored: Scored) -> Scored:
    """The same with all attacks as one species, so that `apcer` is the share of all attacks that pass."""
    species = np.where(scored.live_M, "live", "attack")
    return Scored(scored.scores_M, scored.live_M, species, scored.cluster_M)


def rates(scored: Scored, threshold: float) -> str:
    """BPCER and APCER in percent with 95 % intervals by people, as two cells."""
    found = intervals(scored, threshold, replicates=500)
    cells = [("bpcer", bpcer(scored, threshold)), ("apcer", apcer(scored, threshold))]
    return " | ".join(f"{100 * v:.1f} [{100 * found[key][0]:.1f}, {100 * found[key][1]:.1f}]" for key, v in cells)


def together(kept: "dict[str, dict[str, Scored]]") -> tuple[list[str], dict[str, float]]:
    """Lines of a table at one threshold for all domains; and these thresholds, by score."""
    title = " | ".join(f"{name}: BPCER, passed" for name in kept)
    lines = [f"| score | all: BPCER | all: passed | {title} |", "| --- " * (3 + len(kept)) + "|"]
    thresholds = {}
    for key in next(iter(kept.values())):
        parts = {name: one_species(scored[key]) for name, scored in kept.items()}
        threshold = least_errors([(part.scores_M, part.live_M) for part in parts.values()])
        cells = (f"{100 * bpcer(p, threshold):.1f}, {100 * apcer(p, threshold):.1f}" for p in parts.values())
        lines.append(f"| {key} | {rates(joined([*parts.values()]), threshold)} | {' | '.join(cells)} |")
        thresholds[key] = threshold
    return lines, thresholds


def joined(parts: Sequence[Scored]) -> Scored:
    """The clips of several domains."""
    columns = zip(*((p.scores_M, p.live_M, p.species_M, p.cluster_M) for p in parts), strict=True)
    return Scored(*(np.concatenate(column) for column in columns))


def with_stills(
    faces: Faces, pictures: Path, manifest: Manifest, kept: Mapping[str, Scored], threshold: float
) -> list[str]:
    """Lines of two tables: which recordings pass by their score and which are stills, and what that leaves."""
    lines = ["| recordings | number | live by score | stills | live in the end |", "| --- " * 5 + "|"]
    detector = create_detector(manifest.detector)
    left: dict[str, Scored] = {}
    for domain, scored in kept.items():
        clips, still_B = Clips(faces, domain), np.zeros(len(scored.scores_M), bool)
        if domain in _WHOLE_PICTURES:
            paths = [[pictures / faces.samples[row].path for row in rows] for rows in clips.rows]
            still_B = np.array([_is_still(detector, of_clip) for of_clip in paths])
        passed_B = scored.scores_M >= threshold
        for species in ("live", *sorted({*scored.species_M.tolist()} - {"live"})):
            mine_B = scored.species_M == species
            counts = (mine_B, mine_B & passed_B, mine_B & still_B, mine_B & passed_B & ~still_B)
            lines.append(f"| {domain}, {species} | {' | '.join(str(mask.sum()) for mask in counts)} |")
        no_verdict = np.where(still_B, _NO_VERDICT, scored.scores_M)
        left[domain] = one_species(Scored(no_verdict, scored.live_M, scored.species_M, scored.cluster_M))
    lines += ["", "| in the end | live people who get no `live` | attacks that pass |", "| --- " * 3 + "|"]
    everything = {**left, "all": joined([*left.values()])}
    return [*lines, *(f"| {name} | {rates(scored, threshold)} |" for name, scored in everything.items())]


def _is_still(detector: FaceDetector, paths: Sequence[Path]) -> bool:
    tracker, glances, boxes = FaceTracker(detector), [], []
    for position, path in enumerate(paths):
        picture = read_picture(path)
        found = tracker.find(picture, position)
        height, width = picture.shape[:2]
        glances.append(glance_of(VideoFrame(position, float(position), picture, width, height)))
        boxes.append(found[0].box if found else None)
    return is_still(glances, boxes)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embedded", type=Path, nargs="+")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--pictures", type=Path, help="DATA, for the rule of stills")
    parser.add_argument("--limit", type=float, default=LIMIT)
    options = parser.parse_args()
    manifest = read_manifest(options.bundle)
    faces = read_embedded(options.embedded, manifest)
    lines, kept = compared(faces, options.limit)
    more, thresholds = together(kept)
    print("\n".join([*lines, "", *more]))
    if options.pictures is not None:
        mean = {name: scored["mean"] for name, scored in kept.items()}
        print("\n".join(["", *with_stills(faces, options.pictures, manifest, mean, thresholds["mean"])]))


if __name__ == "__main__":
    main()
