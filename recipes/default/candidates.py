"""Measure published networks that are not in the committee: alone, beside its published members and in place of one.

    git clone https://github.com/OWNER/NAME CLONES/OWNER/NAME      # for each of CANDIDATES, bare or not
    python recipes/default/candidates.py DATA PEERS CLONES OUT [--every 3]

DATA is a folder with an index.csv, PEERS holds the published members (`committee_scores.py`). Every third picture of
the domains with attacks is scored, each domain by calibrations from the others. Differences are to the published
members, with 95 % intervals from the same draws of people. OUT gets `scores.npz`, which a second call takes as it is,
and `candidates.md`. None of these networks is part of this project. A domain that a candidate was trained on says
nothing of it; where that is not known, the last table shows how sure it is of each domain at its own threshold of 0.
"""

import argparse
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from committee import REFERENCE, TRAINED_ON, Faces, calibration, combined
from committee_scores import MEMBERS, log_odds
from numpy.typing import NDArray

from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.runtime import OrtSession, RuntimeOptions
from liveness_core.views import View
from liveness_training.data.cutting import read_picture
from liveness_training.data.samples import Sample, read_index
from liveness_training.evaluation.bootstrap import differences
from liveness_training.evaluation.metrics import Scored, auc, eer

# N faces, C classes

_LIMIT = 8.0
_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_TIGHT = View.model_validate(
    {"rule": "upright_square", "margin": 1.5, "size": 128, "resampling": "area_lanczos", **_PLAIN}
)
_WIDE = View.model_validate(
    {"rule": "upright_box", "margin": 2.7, "size": 128, "colour_order": "BGR", "max_value": 255, **_PLAIN}
)
"""The demo page beside it hands pixels over as RGB, but only in BGR does it tell live from spoof."""


@dataclass(frozen=True)
class Candidate:
    """A published network; live is its first class."""

    repository: str
    path: str
    view: View


CANDIDATES = {
    # Apache-2.0, trained on CelebA-Spoof: the version before that of the member `face_antispoof`.
    "face_antispoof_97_80": Candidate(
        "johnraivenolazo/face-antispoof-onnx", "models/best/97.80/best_model.onnx", _TIGHT
    ),
    # No licence, trained on CelebA-Spoof.
    "hairymax_binary": Candidate("hairymax/Face-AntiSpoofing", "saved_models/AntiSpoofing_bin_1.5_128.onnx", _TIGHT),
    "hairymax_print_replay": Candidate(
        "hairymax/Face-AntiSpoofing", "saved_models/AntiSpoofing_print-replay_1.5_128.onnx", _TIGHT
    ),
    # MIT, trained on "some public and private datasets" that are not named.
    "fr_liveness": Candidate("kby-ai/FaceRecognition-Javascript", "model/fr_liveness.onnx", _WIDE),
}
_FIRST = ("face_antispoof",)


def content(clones: Path, candidate: Candidate) -> bytes:
    """The ONNX file, for batches of any size."""
    git = ["git", "-C", str(clones / candidate.repository), "show", f"HEAD:{candidate.path}"]
    model = onnx.load_from_string(subprocess.run(git, check=True, capture_output=True).stdout)
    for tensor in (*model.graph.input[:1], *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "N"
    return bytes(model.SerializeToString())


def of_first(outputs_NC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-odds of the first class, shape (N,)."""
    x_NC = outputs_NC.astype(np.float64)
    return np.asarray(x_NC[:, 0] - np.logaddexp.reduce(x_NC[:, 1:], axis=1))


def scored(options: argparse.Namespace) -> dict[str, NDArray[np.generic]]:
    """Path of each face, log-odds of each network, and `ms/NAME`: its processor time for a face."""
    detector = create_detector(DetectorSpec())
    views = {name: view for name, (_, view) in MEMBERS.items()} | {name: one.view for name, one in CANDIDATES.items()}
    files = {name: (options.peers / file).read_bytes() for name, (file, _) in MEMBERS.items()}
    files |= {name: content(options.clones, one) for name, one in CANDIDATES.items()}
    sessions = {name: OrtSession(file, RuntimeOptions("cpu")) for name, file in files.items()}
    paths: list[str] = []
    found: dict[str, list[float]] = {name: [] for name in views}
    times = {name: list[float]() for name in views}
    for sample in with_attacks(options.data)[:: options.every]:
        picture = read_picture(options.data / sample.path)
        faces = detector.detect(picture)
        if not faces:
            continue
        paths.append(sample.path)
        for name, view in views.items():
            session, tensor = sessions[name], view.to_tensor([view.cut(picture, faces[0])])
            start = time.process_time()
            outputs = session.run({session.inputs[0].name: tensor}, [session.outputs[0].name])[0]
            times[name].append(time.process_time() - start)
            found[name].extend((of_first(outputs) if name in CANDIDATES else log_odds(name, outputs)).tolist())
    figures = {f"ms/{name}": np.array(1e3 * np.percentile(values, 10)) for name, values in times.items()}
    return {"path": np.array(paths), **{name: np.array(values) for name, values in found.items()}, **figures}


def with_attacks(data: Path) -> list[Sample]:
    """Samples of the domains that have attacks."""
    samples = read_index(data)
    domains = {sample.domain for sample in samples if not sample.live}
    return [sample for sample in samples if sample.domain in domains]


def read_scores(data: Path, kept: Path) -> Faces:
    """The faces of a `scores.npz` with the log-odds of all networks."""
    samples = {sample.path: sample for sample in with_attacks(data)}
    names = (*MEMBERS, *CANDIDATES)
    with np.load(kept) as file:
        chosen = tuple(samples[path] for path in file["path"].tolist())
        x_NM = np.stack([file[name] for name in names], axis=1)
    groups = [(sample.domain, sample.live) for sample in chosen]
    weight_N = np.array([1 / groups.count(group) for group in groups])
    return Faces(chosen, names, x_NM, weight_N)


def combinations() -> dict[str, tuple[str, ...]]:
    """Name -> members: what is there today, each candidate alone, beside it and in the place of `face_antispoof`."""
    public = tuple(MEMBERS)
    chosen = {"the published members": public, "the reference": REFERENCE, "face_antispoof": _FIRST}
    for name in CANDIDATES:
        chosen |= {name: (name,), f"reference, {name}": (*REFERENCE, name), f"published, {name}": (*public, name)}
    return chosen


def away(before: Scored, after: Scored) -> str:
    """The intervals of the differences in AUC and EER, in points."""
    found = differences(before, after, replicates=500)
    return ", ".join(f"[{100 * low:+.1f}, {100 * high:+.1f}]" for low, high in (found["auc"], found["eer"]))


def table(faces: Faces) -> str:
    """AUC / EER in percent on each domain, and the difference to the published members with its interval."""
    domains = sorted({*faces.domain.tolist()})
    lines = {domain: calibration(faces, faces.domain != domain) for domain in domains}
    rows, before = [], {}
    for name, members in combinations().items():
        cells, means = [], []
        for domain in domains:
            here_N = faces.domain == domain
            own = faces.scored(combined(faces, lines[domain], members, _LIMIT), here_N)
            before.setdefault(domain, own)
            means.append((auc(own), eer(own)[0]))
            cell = f"{100 * means[-1][0]:.1f} / {100 * means[-1][1]:.1f}"
            if len(members) >= len(MEMBERS) and name != "the published members":
                cell += f" {away(before[domain], own)}"
            cells.append(cell)
        mean = " / ".join(f"{100 * value:.1f}" for value in np.mean(means, axis=0))
        rows.append(f"| {name} | {' | '.join(cells)} | {mean} |")
    head = f"| AUC / EER, differences | {' | '.join(domains)} | mean |\n{'| --- ' * (len(domains) + 2)}|"
    return "\n".join([head, *rows])


def sureness(faces: Faces) -> str:
    """How many live people and attacks of each domain a network calls live at log-odds of 0, in percent."""
    domains = sorted({*faces.domain.tolist()})
    rows = [f"| live people, attacks called live | {' | '.join(domains)} |", "| --- " * (len(domains) + 1) + "|"]
    for name, x_N in zip(faces.members, faces.x_NM.T, strict=True):
        shares = [
            [100 * float((x_N[(faces.domain == domain) & (faces.live == live)] > 0).mean()) for live in (True, False)]
            for domain in domains
        ]
        rows.append(f"| {name} | {' | '.join(f'{live:.1f}, {attack:.1f}' for live, attack in shares)} |")
    return "\n".join(rows)


def main() -> None:
    """Score, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "peers", "clones", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--every", type=int, default=3, help="score one picture out of this many")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "scores.npz"
    if not kept.exists():
        np.savez(kept, **scored(options))
    TRAINED_ON.update(dict.fromkeys(CANDIDATES, "celeba_spoof"))
    faces = read_scores(options.data, kept)
    with np.load(kept) as file:
        times = "\n".join(f"{name}: {float(file[f'ms/{name}']):.1f} ms" for name in faces.members)
    text = f"{len(faces.samples)} faces\n\n{table(faces)}\n\n{sureness(faces)}\n\n{times}\n"
    print(text)
    (options.out / "candidates.md").write_text(text)


if __name__ == "__main__":
    main()
