"""A batcher whose scorer can be held, poisoned and made to fail."""

import asyncio
import threading

import numpy as np

from liveness_core.scoring import CropScore, Score
from liveness_service.scoring.batcher import MicroBatcher


def crop(number):
    return np.full((2, 2, 3), number, np.uint8)


def clip(*numbers):
    return [crop(number) for number in numbers]


class FakeScorer:
    """Scores crop n with n / 100. While it is held, batches wait inside it."""

    def __init__(self):
        self.batches = []
        self.explained = []
        self.poison = ()
        self.lose = 0
        self.raises = ValueError("a poisoned crop")
        self._free = threading.Event()
        self._free.set()
        self._steps = threading.Semaphore(0)

    def hold(self):
        self._free.clear()

    def release(self):
        self._free.set()

    def release_one(self):
        self._steps.release()

    def score(self, crops, *, explain=False):
        numbers = [int(each[0, 0, 0]) for each in crops]
        self.batches.append(numbers)
        self.explained.append(explain)
        for _ in range(1000):  # ten seconds, so that a fault ends as a failure and not as a hang
            if self._free.is_set() or self._steps.acquire(timeout=0.01):
                break
        if set(numbers) & {*self.poison}:
            raise self.raises
        activation = np.zeros((7, 7), np.float32) if explain else None
        lost = self.lose if len(numbers) > 1 else 0
        return [CropScore(Score(number / 100), np.zeros(4, np.float32), activation) for number in numbers][lost:]


class Rig:
    """A started batcher whose first batch, crop 99, is held, so that what follows queues."""

    def __init__(self, **options):
        self.scorer = FakeScorer()
        self.sizes = []
        self.taken = asyncio.Event()
        self.batcher = MicroBatcher(self.scorer, **{"max_batch_size": 8, "on_batch": self._take, **options})

    async def __aenter__(self):
        self.batcher.start()
        return self

    async def __aexit__(self, *_):
        self.scorer.release()
        await self.batcher.close()

    def _take(self, size):
        self.sizes.append(size)
        self.taken.set()

    async def submit(self, *numbers, **options):
        """Queue crops; they have arrived when this returns."""
        tasks = [asyncio.create_task(self.batcher.submit([crop(number)], **options)) for number in numbers]
        await asyncio.sleep(0)
        return tasks

    async def hold(self):
        self.scorer.hold()
        [first] = await self.submit(99)
        await self.taken.wait()
        return first

    @staticmethod
    async def scores(tasks):
        return [(await task).results[0].score for task in tasks]
