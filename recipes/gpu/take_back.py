"""Take what `train.py` brought back into a folder of runs, as `liveness-train train` would have left them.

    python recipes/gpu/take_back.py PACK RESULTS RUNS

RUNS gets a folder for each run, with `run.json`, `weights.pt`, `scores.csv`, `metrics.json` and `log.jsonl`. So
`recipes/default/committee.py` reads them, `train.sh` finds them made, and `liveness-train evaluate RUN` scores the
original pictures instead of the packed ones. A run whose weights did not come has no `weights.pt`, which is enough for
the committee's tables. PACK/done.json gets the names of the whole runs, which another call then leaves out.
"""

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from members import settings_of
from numpy.typing import NDArray
from packed import Pack
from results import WEIGHTS as WEIGHTS_BACK

from liveness_training.data.crops import CropSet
from liveness_training.evaluation.figures import as_table, run_report
from liveness_training.evaluation.score_file import write_scores
from liveness_training.models.network import ImageNetwork, create_encoder
from liveness_training.runs.folder import LOG, METRICS, SCORES, SETTINGS, WEIGHTS, protocol_of


def unpacked(results: Path) -> dict[str, dict[str, bytes]]:
    """Run -> file -> content, of all archives in a folder."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(results.rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name, _, file = member.partition("/")
                found.setdefault(name, {})[file] = archive.read(member)
    return found


def take(pack: Pack, files: dict[str, bytes], folder: Path) -> str:
    """Write the folder of a run; returns the table of its figures."""
    result = json.loads(files["result.json"])
    run: dict[str, Any] = result["run"]
    config, preprocess = settings_of(run)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "config": config.model_dump(),
        "preprocess": preprocess.model_dump(),
        "detector": pack.plan["detector"],
        "init": run["init"],
        "teacher": [],
        "init_run": None,
        "data": pack.plan["data"],
        "cache": "cache",
        "git_commit": pack.plan["git_commit"],
        "libraries": result["libraries"],
        "machine": result["machine"],
        "pack": {"quality": pack.plan["quality"], "steps": result["steps"], "images_per_s": result["images_per_s"]},
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
    (folder / LOG).write_bytes(files["log.jsonl"])
    if WEIGHTS_BACK in files:
        network = ImageNetwork(create_encoder(config.encoder, config.padding))
        network.load_state_dict(torch.load(io.BytesIO(files[WEIGHTS_BACK]), map_location="cpu", weights_only=True))
        torch.save({"network": network.state_dict()}, folder / WEIGHTS)  # loading made them float32 again
    log_odds_M: NDArray[np.float64] = np.load(io.BytesIO(files["scores.npy"])).astype(np.float64)
    crops = CropSet(pack.samples, pack.missed, np.empty((len(pack.samples), 0, 0, 0, 3), np.uint8))
    protocol = protocol_of(config, crops)
    scores = {row: float(1 / (1 + np.exp(-log_odds_M[row]))) for row in protocol.evaluated}
    report = run_report(scores, crops, protocol)
    write_scores(folder / SCORES, scores, crops, protocol)
    (folder / METRICS).write_text(json.dumps(report, indent=2) + "\n")
    return as_table(report)


def main() -> None:
    """Take all that came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pack", "results", "runs"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    pack = Pack(options.pack)
    names = {run["name"] for run in pack.plan["runs"]}
    home = options.pack / "done.json"
    done = set(json.loads(home.read_text())) if home.exists() else set()
    for name, files in unpacked(options.results).items():
        if name not in names or "result.json" not in files:
            print(f"{name}: not a run of this pack that has ended")
            continue
        print(f"{name}\n{take(pack, files, options.runs / name)}")
        if (options.runs / name / WEIGHTS).exists():
            done.add(name)
        else:
            print("its weights did not come back")
    home.write_text(json.dumps(sorted(done)) + "\n")


if __name__ == "__main__":
    main()
