"""Does several runs one after the other in the processes that torchrun started, each of which imports PyTorch once.

python several_runs.py RUNS, in JSON: a list of [MODULE, ARGUMENT…]; a module is `shared_batch` or `training_run`, or
`copy`, which copies a file.
"""

import json
import os
import shutil
import sys

import torch
import torch.distributed as dist

from support import shared_batch, training_run
from support.server import free_port


def _copy(arguments: list[str]) -> None:
    if os.environ["RANK"] == "0":
        shutil.copyfile(*arguments)


_MAIN = {"shared_batch": shared_batch.main, "training_run": training_run.main, "copy": _copy}


def run_all(runs: list[list[str]]) -> None:
    """Do these runs. Each has a store of its own: in the agent's, the addresses of the run before would be found."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = dist.TCPStore(host, port, is_master=False)
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for number, (module, *arguments) in enumerate(runs):
        key = f"port of run {number}"
        if os.environ["RANK"] == "0":
            agent.set(key, str(free_port()))
        os.environ["MASTER_PORT"] = agent.get(key).decode()
        _MAIN[module](arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_all(json.loads(sys.argv[1]))
