"""A worker whose decoders do what the upload says: hang, crash, take memory, try to get out. As a program, a service
that has such workers: `python hostile_worker.py serve`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

# Imported here, as by `child`: the fork server then does it once and not each worker.
from liveness_service.decoding import scaled
from liveness_service.scoring import clip_preparation
from liveness_service.workers import child

_TESTS = Path(__file__).parents[1]


def environment():
    """What a process needs to import this module."""
    paths = [str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def work(connection, memory):
    """The entry of the worker."""
    decode_image, opened_clip = scaled.decode_image, clip_preparation.opened_clip

    def image(content, limits, **options):
        _obey(content, connection)
        return decode_image(content, limits, **options)

    @contextlib.contextmanager
    def clip(content, limits, unwanted):
        _obey(content, connection)
        with opened_clip(content, limits, unwanted) as video:
            yield video

    scaled.decode_image, clip_preparation.opened_clip = image, clip
    child.work(connection, memory)


def _obey(content, connection):
    order, _, argument = content[:100].partition(b" ")
    match order:
        case b"hang":
            time.sleep(1000)
        case b"pause":
            time.sleep(float(argument))
        case b"spin":
            while True:
                pass
        case b"abort":
            os.abort()
        case b"exit":
            os._exit(0)
        case b"allocate":
            bytearray(int(argument) << 20)
        case b"grow":  # step by step, for ever or up to so many MB
            kept = []
            while len(kept) < int(argument or 1 << 20):
                kept.append(b"x" * (1 << 20))
        case b"promise":  # as a header does, to take so many MB; and then take others
            from liveness_service.decoding.promise import promise

            promised, takes, *seconds = argument.split()
            promise(int(promised) << 20)
            bytearray(int(takes) << 20)
            time.sleep(float(*seconds))
        case b"mapped":  # memory that the limit on allocations does not count
            import mmap

            size, *seconds = argument.split()
            memory = mmap.mmap(-1, int(size) << 20)
            for start in range(0, len(memory), 4096):
                memory[start] = 1
            time.sleep(float(*seconds or [1000]))
        case b"lie":
            connection.send(argument)
            time.sleep(1000)
        case b"later":  # an answer that nobody asked for, once this upload has its own
            threading.Timer(0.3, connection.send, [argument]).start()
        case b"network":
            from liveness_core.runtime import NetworkError

            raise NetworkError("the detector cannot run this picture")
        case b"raise":
            raise RuntimeError("nobody expected this")
        case b"try":
            from liveness_service.errors import UnreadableMediaError

            raise UnreadableMediaError(_tried(argument.decode()))


def _tried(door):
    """What happens when a worker tries to get out."""
    name, _, path = door.partition(":")
    try:
        match name:
            case "read":
                Path(path).read_bytes()
            case "write":
                Path(path).write_bytes(b"x")
            case "remove":
                Path(path).unlink()
            case "socket":
                socket.socket()
            case "fork":
                os.fork()
            case "run":
                subprocess.run([sys.executable, "-c", ""], check=False)
            case "signal":
                os.kill(int(path), 0)
            case "environment":
                return " ".join(sorted(os.environ))
    except OSError as error:
        return f"refused: {type(error).__name__}"
    return "done"


def main():
    os.environ.update(environment())
    sys.path.insert(0, str(_TESTS))
    from liveness_service.cli import app
    from liveness_service.workers import forkserver

    forkserver.ENTRY = "support.hostile_worker"
    app()


if __name__ == "__main__":
    main()
