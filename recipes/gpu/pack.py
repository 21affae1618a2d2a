"""Pack the faces of labelled data, the runs to be made of them and their initial weights, for a machine with a GPU.

    python recipes/gpu/pack.py DATA PACK --init efficientnet_lite0=lite0.pth --init mobilenet_v2=mobilenet_v2.npz

DATA is a folder with an index.csv; of videos it takes nothing. Splits, people and recordings go along, so that what a
run is trained on and reported on is decided there as it is here. `make gpu-pack` calls this and prints what to run.
"""

import argparse
import json
import multiprocessing
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from members import DOMAINS, MEMBERS, init_files, runs_of, settings_of
from numpy.typing import NDArray
from packed import MOST_PX, TEXTS, Pack, Place, kept, place_of

from liveness_core.detection import DetectorSpec, create_detector
from liveness_core.types import Picture
from liveness_training.data.cutting import UnreadableError, read_picture
from liveness_training.data.samples import Sample, read_index
from liveness_training.models.init import load_initial_weights
from liveness_training.models.network import create_encoder
from liveness_training.runs.environment import git_commit

_INIT_FACES = 96
"""Faces that folded weights are unfolded on, as in `liveness-train train`."""


def encoded(picture: Picture, quality: int) -> bytes:
    """WebP of an RGB picture."""
    done, content = cv2.imencode(".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV cannot write WebP")
    return bytes(content)


class Packer:
    """Finds and encodes faces; every process has its own."""

    def __init__(self, data: Path) -> None:
        cv2.setNumThreads(1)
        self._data = data
        self._detector = create_detector(DetectorSpec())

    def __call__(self, path: str, quality: int, known: Place | None) -> tuple[bytes, Place] | None:
        """The part of a picture that is kept, encoded, and where its face lies; None without a face.

        Args:
            path: of the picture.
            quality: of WebP.
            known: where the face lies, if that is known; None looks for it.
        """
        try:
            picture = read_picture(self._data / path)
        except UnreadableError:
            return None
        place = known
        if place is None and (faces := self._detector.detect(picture)):
            place = place_of(picture, faces[0])
        return None if place is None else (encoded(kept(picture, place), quality), place)


_packer: Packer | None = None


def _start(data: Path) -> None:
    global _packer
    _packer = Packer(data)


def _packed(path: str, quality: int, known: Place | None) -> tuple[bytes, Place] | None:
    assert _packer is not None
    return _packer(path, quality, known)


def qualities(samples: Sequence[Sample], quality: int, live_only: int) -> list[int]:
    """The quality of each picture: another one in domains without attacks, whose labels it cannot give away."""
    attacked = {sample.domain for sample in samples if not sample.live}
    return [quality if sample.domain in attacked else live_only for sample in samples]


def known_places(folder: Path) -> dict[str, Place]:
    """Path -> where its face lies, of a pack that is to be written again in another quality."""
    old = Pack(folder)
    return dict(zip((sample.path for sample in old.samples), old.places, strict=True))


def write_faces(
    data: Path,
    samples: Sequence[Sample],
    folder: Path,
    quality: Sequence[int],
    workers: int,
    known: Mapping[str, Place],
) -> None:
    """Write `faces.bin` and `index.npz`; faces that are known already are not looked for."""
    sizes, places, found = [], [], []
    spawn = multiprocessing.get_context("spawn")
    with (
        (folder / "faces.bin").open("wb") as file,
        ProcessPoolExecutor(workers, spawn, _start, (data,)) as pool,
    ):
        paths = [sample.path for sample in samples]
        for packed in pool.map(_packed, paths, quality, [known.get(path) for path in paths], chunksize=16):
            found.append(packed is not None)
            if packed is not None:
                content, place = packed
                sizes.append(file.write(content))
                places.append([place.width, place.height, *place.box, *place.eyes])
    index: dict[str, NDArray[np.generic]] = {
        name: np.array([getattr(sample, name) or "" for sample in samples]) for name in TEXTS
    }
    index |= {"live": np.array([sample.live for sample in samples]), "found": np.array(found)}
    index |= {"bytes": np.array(sizes, np.int32), "place": np.array(places, np.float64)}
    np.savez_compressed(folder / "index.npz", **index)


def write_init(pack: Pack, files: dict[str, Path]) -> None:
    """Write the initial weights that the runs name, convolutions in half precision; norms keep theirs."""
    (pack.folder / "init").mkdir(exist_ok=True)
    for run in pack.plan["runs"]:
        name, (config, preprocess) = run["init"], settings_of(run)
        out = pack.folder / "init" / f"{name}.pt"
        if name not in files or out.exists():
            continue
        random = np.random.default_rng(config.seed)
        rows = random.choice(len(pack.samples), min(_INIT_FACES, len(pack.samples)), replace=False).tolist()
        crops = [pack.crops(row, preprocess.margin, 1, preprocess.size)[0] for row in rows]
        encoder = create_encoder(config.encoder, config.padding)
        load_initial_weights(encoder, files[name], torch.from_numpy(preprocess.to_tensor(crops)))
        state = encoder.state_dict()
        torch.save({key: value.half() if value.ndim > 1 else value for key, value in state.items()}, out)


def report(pack: Pack, total: int) -> str:
    """What is in the pack."""
    counts = Counter((sample.domain, sample.live) for sample in pack.samples)
    lost = Counter(sample.domain for sample in pack.missed)
    starts = [0, *pack._ends_M.tolist()]
    weight: Counter[str] = Counter()
    for sample, (start, end) in zip(pack.samples, pairwise(starts), strict=True):
        weight[sample.domain] += end - start
    lines = [
        f"{domain:14} {counts[domain, True]:5} live {counts[domain, False]:5} attacks {lost[domain]:4} without a face "
        f"{weight[domain] / 1e6:5.1f} MB"
        for domain in sorted(weight)
    ]
    lines.append(f"{len(pack.plan['runs'])} runs; {total / 1e6:.1f} MB in {pack.folder}")
    return "\n".join(lines)


def main() -> None:
    """Write the pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--init", action="append", default=[], metavar="NAME=FILE", help="else from random weights")
    parser.add_argument("--members", default=",".join(MEMBERS))
    parser.add_argument("--kept-out", default=",".join(DOMAINS), help="domains that are kept out in turn")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="overrides")
    parser.add_argument("--quality", type=int, default=76, help="of WebP")
    parser.add_argument("--live-only", type=int, default=50, help="quality in domains without attacks")
    parser.add_argument("--workers", type=int, default=2, help="processes that find faces")
    parser.add_argument("--most-mb", type=float, default=60)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.pack.mkdir(parents=True, exist_ok=True)
    runs = runs_of(
        options.members.split(","), [each for each in options.kept_out.split(",") if each], options.overrides
    )
    plan = {
        "runs": runs,
        "data": [str(options.data)],
        "detector": DetectorSpec().model_dump(mode="json"),
        "git_commit": git_commit(),
        "quality": options.quality,
    }
    files = init_files(options.init)
    for run in runs:
        if run["init"] not in files:
            print(f"warning: {run['name']} starts from random weights, which learn little: --init {run['init']}=FILE")
            run["init"] = None
    text = json.dumps(plan, indent=1) + "\n"
    if (options.pack / "plan.json").exists() and (options.pack / "plan.json").read_text() != text:
        (options.pack / "done.json").unlink(missing_ok=True)  # runs of other settings
    (options.pack / "plan.json").write_text(text)
    faces = options.pack / "faces.bin"
    done = options.pack / "packed.json"
    samples = [sample for sample in read_index(options.data) if not sample.is_video]
    # Finding faces takes minutes. It is not done again to change the runs, their weights, or the quality.
    kinds = {"quality": options.quality, "live_only": options.live_only}
    key = {"data": str(options.data.resolve()), "rows": len(samples), "most_px": MOST_PX, **kinds}
    before = json.loads(done.read_text()) if done.exists() else {}
    if before != key:
        known = known_places(options.pack) if before and {**before, **kinds} == key else {}
        done.unlink(missing_ok=True)
        write_faces(
            options.data,
            samples,
            options.pack,
            qualities(samples, options.quality, options.live_only),
            options.workers,
            known,
        )
        done.write_text(json.dumps(key) + "\n")
    pack = Pack(options.pack)
    write_init(pack, files)
    total = sum(file.stat().st_size for file in options.pack.rglob("*") if file.is_file())
    print(report(pack, total))
    print(
        f"on the machine with the GPU: python3 recipes/gpu/train.py {options.pack} --out RESULTS\n"
        f"and here: python recipes/gpu/take_back.py {options.pack} RESULTS RUNS"
    )
    if total > options.most_mb * 1e6:
        parser.error(f"{faces} and the rest have {total / 1e6:.1f} MB: lower --quality, which is {options.quality}")


if __name__ == "__main__":
    main()
