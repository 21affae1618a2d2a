"""The code and the machine of a run: commit, library versions, hardware."""

import os
import platform
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch


def git_commit() -> str:
    """Commit of the running code, with `-dirty` where files were changed; `unknown` outside a checkout."""
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607 (git as the user has it)
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return shown.stdout.strip()


def libraries() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def machine() -> dict[str, str | int]:
    """The properties of the machine that the speed of a run depends on."""
    found: dict[str, str | int] = {
        "system": platform.platform(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["gpus"] = torch.cuda.device_count()
    return found
