"""How far scores move when faces come out of a pack instead of their own pictures.

    python recipes/gpu/drift.py DATA PACK --bundle models/default --faces 800

Scores the members of a bundle twice on the same faces, cut where the pack says that the face lies: from pictures in
DATA, and from the parts that PACK keeps. Level squares, as our own members take, are cut from the whole picture; crops
that depend on the picture's edges are cut from the kept part before and after compression. Prints for each member the
mean and the 95th percentile of the change of its probability of live, the mean change of live faces and of attacks,
and AUC and EER of both.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pack import encoded
from packed import Pack, decoded, kept

from liveness_core.alignment import cut
from liveness_core.bundle import load_bundle
from liveness_core.runtime import RuntimeOptions
from liveness_core.types import Box, DetectedFace, FaceCrops, Picture
from liveness_core.views import View
from liveness_training.data.cutting import read_picture
from liveness_training.evaluation.metrics import Scored, auc, eer

_BATCH = 16


def crops(pack: Pack, row: int, part: Picture, whole: Picture | None, views: tuple[View, ...]) -> FaceCrops:
    """Crops of a face.

    Args:
        pack: where it lies.
        row: which face.
        part: what is kept of its picture.
        whole: its picture, for level squares; None takes them from the part as well.
        views: the crops.
    """
    place = pack.places[row]
    left, top, right, _ = place.part
    scale = part.shape[1] / (right - left)
    corners = (place.box[:2], place.box[2:], place.eyes[:2], place.eyes[2:])
    (x1, y1), (x2, y2), one, other = [((x - left) * scale, (y - top) * scale) for x, y in corners]
    face = DetectedFace(Box(x1, y1, x2, y2), (one, other, one, one, other), 1.0)

    def taken(view: View) -> Picture:
        if view.rule != "level_square":
            return view.cut(part, face)
        if whole is not None:
            return cut(whole, place.square(view.margin), view.size)
        return cut(part, pack.square(row, view.margin, part.shape[1]), view.size)

    return tuple(taken(view) for view in views)


def embedded(scorer: object, faces: list[FaceCrops]) -> NDArray[np.float64]:
    """Log-odds of live by member, shape (N, M)."""
    found = []
    for start in range(0, len(faces), _BATCH):
        found += [each.embedding for each in scorer.score(faces[start : start + _BATCH])]  # type: ignore[attr-defined]  # a Scorer
    return np.array(found, np.float64)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--faces", type=int, default=800)
    parser.add_argument("--quality", type=int, help="of WebP: what a pack of another quality would do, and its size")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pack = Pack(options.pack)
    loaded = load_bundle(options.bundle, runtime=RuntimeOptions("cpu"))
    views = loaded.manifest.views
    domains = sorted({sample.domain for sample in pack.samples if not sample.live})
    random = np.random.default_rng(0)
    rows: list[int] = []
    for domain in domains:
        for live in (True, False):
            own = [row for row, each in enumerate(pack.samples) if each.domain == domain and each.live == live]
            rows += random.choice(own, min(options.faces // (2 * len(domains)), len(own)), replace=False).tolist()
    pictures = [(row, read_picture(options.data / pack.samples[row].path)) for row in rows]
    original = [crops(pack, row, kept(picture, pack.places[row]), picture, views) for row, picture in pictures]
    before_NM = embedded(loaded.scorer, original)
    quality = options.quality or pack.plan["quality"]
    parts = [encoded(kept(picture, pack.places[row]), quality) for row, picture in pictures]
    after_NM = embedded(
        loaded.scorer, [crops(pack, row, decoded(part), None, views) for row, part in zip(rows, parts, strict=True)]
    )
    live = np.array([pack.samples[row].live for row in rows])
    names = [entry["name"] for entry in loaded.manifest.provenance.config["members"]]
    size, own = sum(map(len, parts)) / len(rows), sum(len(pack.content(row)) for row in rows) / len(rows)
    print(f"{len(rows)} faces of {', '.join(domains)}; WebP of quality {quality}, {size / own:.3f} of the pack's size")
    print(
        "| member | change, mean (95 %) | live, attacks | AUC / EER of pictures | of the pack |\n" + "| --- " * 5 + "|"
    )
    for number, name in enumerate(names):
        before, after = (1 / (1 + np.exp(-x_NM[:, number])) for x_NM in (before_NM, after_NM))
        change = after - before
        cells = [f"{np.abs(change).mean():.3f} ({np.quantile(np.abs(change), 0.95):.3f})"]
        cells.append(f"{change[live].mean():+.3f}, {change[~live].mean():+.3f}")
        for scores in (before_NM[:, number], after_NM[:, number]):
            scored = Scored.of(
                scores, live, ["live" if each else "attack" for each in live], [str(row) for row in rows]
            )
            cells.append(f"{100 * auc(scored):.2f} / {100 * eer(scored)[0]:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
