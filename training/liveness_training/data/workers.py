"""Worker processes that cut crops. They end with their parent, even when it is killed."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection

import cv2

from liveness_training.data.cutting import CutChunk, Cutter, Recipe
from liveness_training.data.samples import Sample
from liveness_training.errors import TrainingError

_AHEAD = 2  # chunks given to each worker at once: none waits, and results do not pile up behind a slow worker


def cut_in_order(chunks: Iterable[Sequence[Sample]], recipe: Recipe, workers: int) -> Generator[CutChunk, None, None]:
    """Cut one chunk after another; the results come in the order of the chunks.

    Close the generator to stop early; the workers then end at once, in the middle of their work.

    Args:
        chunks: samples to cut, in chunks.
        recipe: how to cut them.
        workers: number of processes; with 0 or 1 this process does the work.

    Raises:
        DataError: see `Cutter`.
        TrainingError: a worker died.
    """
    if workers < 2:
        with _one_thread():
            yield from map(Cutter(recipe), chunks)
        return
    # Spawned: a forked worker has the state of OpenCV's threads but not the threads, and would wait forever for them.
    fresh = multiprocessing.get_context("spawn")
    alive_here, alive_there = fresh.Pipe(duplex=False)
    chunks = iter(chunks)
    pool = ProcessPoolExecutor(workers, fresh, initializer=_start, initargs=(recipe, alive_here))
    try:
        with _no_interrupt_for_children():
            pending: deque[Future[CutChunk]] = deque(
                pool.submit(_cut, chunk) for chunk in itertools.islice(chunks, _AHEAD * workers)
            )
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(_cut, chunk) for chunk in itertools.islice(chunks, 1))
        pool.shutdown()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a worker process died, perhaps of too little memory: the same command, with fewer workers, goes on"
        ) from error
    finally:
        alive_there.close()
        pool.shutdown(cancel_futures=True)
        alive_here.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _no_interrupt_for_children() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all processes, from children started here; this process gets it later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_cutters: list[Cutter] = []


def _start(recipe: Recipe, alive: Connection) -> None:
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    cv2.setNumThreads(1)
    _cutters.append(Cutter(recipe))


def _end_with_parent(alive: Connection) -> None:
    # Only the parent holds the other end: it closes when the parent closes it, and when the parent is killed.
    alive.poll(None)
    os._exit(0)  # nothing of a worker is worth keeping: the parent writes


def _cut(samples: Sequence[Sample]) -> CutChunk:
    return _cutters[0](samples)
