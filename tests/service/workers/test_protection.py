"""What a worker cannot do: limits of the kernel, and what is said where the system lacks some."""

import ast
import subprocess
import sys

import pytest

from liveness_service.workers.processes import ForkServer


def test_the_kernels_limits_are_set_in_a_worker():
    names = "RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE"
    code = (
        "from resource import *; from liveness_service.workers.limits import *;"
        "set_limits(123456789); bound_processor_time(7);"
        f"print([getrlimit(each) for each in ({', '.join(names)})], getrlimit(RLIMIT_CPU)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[(123456789, 123456789), (64, 64), (0, 0), (0, 0)]" in done.stdout
    assert 7 <= int(done.stdout.split()[-1]) <= 10


def test_what_this_system_lacks_is_found_by_trying():
    code = (
        "import ctypes; from pathlib import Path; from liveness_service.workers import sandbox;"
        "print(sandbox.missing_protection([]));"
        "sandbox._filter_calls = lambda: (_ for _ in ()).throw(OSError(1, 'refused'));"
        "print(sandbox.missing_protection([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    here, without = done.stdout.splitlines()
    assert "seccomp" in without
    assert set(ast.literal_eval(here)) <= set(ast.literal_eval(without))


@pytest.mark.anyio
async def test_protection_that_is_missing_is_told_once(capsys):
    server = ForkServer(1 << 30)
    server.missing = ["landlock"]
    server._tell_missing()
    server._tell_missing()
    assert capsys.readouterr().out.count("workers_less_protected") == 1
