"""Compare methods that came after the paper on domains that are kept out, with one recipe and the same pictures.

    python recipes/paper/later_methods.py DATA INIT RUNS --hold-out DOMAIN… [--seed 1 2 3] [--set FIELD=VALUE…]

DATA: a folder with an index.csv. INIT: weights to start from. Each method is the recipe `--config` with a few settings
changed; for one seed all methods get the same pictures in the same order, and SAM and GAC-FAS look at them more than
once. Finished runs are kept in RUNS, and the same command goes on where it was stopped. A Markdown table of AUC and EER
(frames, percent) is printed after each run.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from liveness_core.detection import DetectorSpec
from liveness_core.preprocess import PreprocessSpec
from liveness_training.config import TrainConfig, load_config
from liveness_training.data.crops import prepare_all
from liveness_training.data.datasets import parse_source
from liveness_training.evaluation.figures import Report
from liveness_training.runs.folder import METRICS, SETTINGS, RunFolder
from liveness_training.runs.plan import RunPlan
from liveness_training.runs.train import train

_SINGLE_SIDE = {"single_side": True, "grl_factor": -1.0, "grl_schedule": "dann"}
METHODS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "SSDG": {**_SINGLE_SIDE, "triplet": 1.0, "feature_scale": 12.0},
    "SAM": {"sharpness": "sam"},
    "MixStyle, same label": {"style_mixing": "same_label"},
    "MixStyle, other domain": {"style_mixing": "cross_domain"},
    "GAC-FAS": {"sharpness": "gac_fas", "sharpness_rho": 0.1},
    "patch labels": {"patch_labels": True},
    "SSDG: single side": _SINGLE_SIDE,
    "SSDG: triplets": {"triplet": 1.0},
    "SSDG: normalised": {"feature_scale": 12.0},
}


def table(reports: Mapping[tuple[str, str, int], Report], targets: list[str]) -> str:
    """Mean over the seeds of AUC / EER, and how many seeds there are; the deviation of AUC where there are several."""
    lines = [f"| method | {' | '.join(targets)} |", "| --- |" + " --- |" * len(targets)]
    for method in METHODS:
        cells = []
        for target in targets:
            found = [
                report[f"held_out/{target}"] for (m, t, _), report in reports.items() if (m, t) == (method, target)
            ]
            if not found:
                cells.append("–")
                continue
            auc, eer = (np.array([100 * each[name] for each in found]) for name in ("auc", "eer"))
            spread = f" ± {auc.std(ddof=1):.1f}" if len(found) > 1 else ""
            cells.append(f"{auc.mean():.1f}{spread} / {eer.mean():.1f} ({len(found)})")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("init", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--hold-out", nargs="+", required=True)
    parser.add_argument("--together", action="store_true", help="keep all domains out of one run, not each of its own")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", nargs="+", type=int, default=[1])
    parser.add_argument("--config", default="member_context")
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--views", type=int, default=4, help="crops of a face; with 1 the service's alone")
    options = parser.parse_args()

    base = load_config(options.config, options.overrides)
    preprocess, detector = PreprocessSpec(size=options.size), DetectorSpec()
    crops = prepare_all(
        [parse_source(options.data)],
        options.cache,
        preprocess=preprocess,
        detector=detector,
        clip=base.clip,
        views=options.views,
        workers=1,
    )

    groups = [tuple(options.hold_out)] if options.together else [(target,) for target in options.hold_out]

    def report_of(method: str, targets: tuple[str, ...], seed: int) -> Report:
        config = TrainConfig.model_validate(base.model_dump() | METHODS[method] | {"hold_out": targets, "seed": seed})
        name = method.lower().replace(": ", "-").replace(", ", "-").replace(" ", "-")
        folder = options.runs / "-".join([name, "without", *targets, str(seed)])
        plan = RunPlan(
            folder,
            config,
            preprocess,
            detector,
            init=options.init,
            resume=(folder / SETTINGS).exists(),
            data=(options.data,),
            cache=options.cache,
        )
        if (folder / METRICS).exists():
            plan.claim_folder(None)  # refuses a run of other settings
            return RunFolder.read(folder).metrics()
        return train(crops, plan)

    reports: dict[tuple[str, str, int], Report] = {}
    for seed in options.seed:
        for method in options.method:
            for targets in groups:
                report = report_of(method, targets, seed)
                reports |= {(method, target, seed): report for target in targets}
                print(f"{method}, seed {seed}", file=sys.stderr)
                print(table(reports, options.hold_out) + "\n", flush=True)


if __name__ == "__main__":
    main()
