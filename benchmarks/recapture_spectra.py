"""Holds simulated replays against real photographs of screens, by their spectra.

    python benchmarks/recapture_spectra.py RECAPTURE --out OUT

RECAPTURE: a folder with an index.csv (path, label, source) and patches at the camera's own pixels, of `real` scenes and
of a `screen`. A photograph of a screen differs from a scene in where its energy lies: less detail, and peaks where
panel and sensor beat. Each patch's radial power spectrum (share of the energy in each band, in decibels) is taken, and
its largest peak over its ring; real scenes go through the simulation as well, and all three kinds are compared by
source, so that no camera counts more than another.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

from liveness_training.data.simulation import simulate

mpl.use("Agg")
import matplotlib.pyplot as plt

_SIZE = 224
_BANDS = 28


def power(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy of the luma at each frequency, without the mean, and which of the bands each is in."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    window = np.outer(np.hanning(_SIZE), np.hanning(_SIZE))
    energy = np.abs(np.fft.fftshift(np.fft.fft2((luma - luma.mean()) * window))) ** 2
    y, x = np.indices(energy.shape) - _SIZE // 2
    return energy, np.minimum((np.hypot(x, y) / (_SIZE / 2) * _BANDS).astype(int), _BANDS)


def spectrum(picture: np.ndarray) -> np.ndarray:
    """Share of the energy in each band of frequency, in decibels."""
    energy, band = power(picture)
    shares = np.bincount(band.ravel(), energy.ravel(), _BANDS + 1)[:_BANDS]
    return 10 * np.log10(shares / max(shares.sum(), 1e-9) + 1e-12)


def peak(picture: np.ndarray) -> float:
    """How far the strongest frequency, outside the lowest quarter, stands above the median of its ring, in decibels."""
    energy, band = power(picture)
    decibels = 10 * np.log10(energy + 1e-9)
    rings = (decibels[band == each] for each in range(_BANDS // 4, _BANDS))
    return max(float(ring.max() - np.median(ring)) for ring in rings)


def main() -> None:
    """Measure, print, write the figures and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recapture", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    with (arguments.recapture / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("real", "screen")]
    for number, row in enumerate(rows):
        picture = cv2.cvtColor(cv2.imread(str(arguments.recapture / row["path"])), cv2.COLOR_BGR2RGB)
        top, left = (picture.shape[0] - _SIZE) // 2, (picture.shape[1] - _SIZE) // 2
        patch = np.ascontiguousarray(picture[top : top + _SIZE, left : left + _SIZE])
        kinds = {row["label"]: patch}
        if row["label"] == "real":
            kinds["simulated_replay"] = simulate("simulated_replay", patch, np.random.default_rng([1, number]))
        for kind, each in kinds.items():
            found[kind][row["source"]].append(np.append(spectrum(each), peak(each)))
    means = {
        kind: np.mean([np.mean(patches, axis=0) for patches in sources.values()], axis=0)
        for kind, sources in found.items()
    }
    report = {
        "patches": {kind: sum(map(len, sources.values())) for kind, sources in found.items()},
        "sources": {kind: len(sources) for kind, sources in found.items()},
        "peak_db": {kind: float(mean[-1]) for kind, mean in means.items()},
        "spectrum_db": {kind: mean[:-1].round(2).tolist() for kind, mean in means.items()},
        "mean_distance_to_screens_db": {
            kind: float(np.abs(mean[:-1] - means["screen"][:-1]).mean()) for kind, mean in means.items()
        },
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "recapture_spectra.json").write_text(json.dumps(report, indent=2) + "\n")
    figure, axis = plt.subplots(figsize=(6, 4), constrained_layout=True)
    for kind, mean in means.items():
        axis.plot((np.arange(_BANDS) + 0.5) / _BANDS / 2, mean[:-1], label=kind)
    axis.set(xlabel="cycles a pixel", ylabel="share of the energy, dB")
    axis.legend()
    figure.savefig(arguments.out / "recapture_spectra.png", dpi=70)
    print(json.dumps({name: value for name, value in report.items() if name != "spectrum_db"}, indent=1))


if __name__ == "__main__":
    main()
