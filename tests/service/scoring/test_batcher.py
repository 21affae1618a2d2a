import asyncio
import threading

import numpy as np
import pytest

from liveness_core.bundle import load_bundle
from liveness_core.scoring import CropScore, Score
from liveness_service.errors import OverloadedError, ScoringFailedError
from liveness_service.scoring.batcher import MicroBatcher

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


def crop(number):
    return np.full((2, 2, 3), number, np.uint8)


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


async def test_each_caller_gets_the_score_of_its_own_crop():
    async with Rig(max_batch_size=4) as rig:
        tasks = await rig.submit(*range(30))
        assert await rig.scores(tasks) == [number / 100 for number in range(30)]
        assert [number for batch in rig.scorer.batches for number in batch] == list(range(30))


async def test_batches_form_while_one_runs_and_stay_within_their_size():
    async with Rig(max_batch_size=4) as rig:
        first = await rig.hold()
        tasks = await rig.submit(*range(9))
        rig.scorer.release()
        await rig.scores([first, *tasks])
        assert rig.scorer.batches == [[99], [0, 1, 2, 3], [4, 5, 6, 7], [8]]
        assert rig.sizes == [1, 4, 4, 1]


async def test_a_lone_crop_is_not_made_to_wait():
    async with Rig() as rig:
        waited = [(await rig.batcher.submit([crop(number)])).queue_s for number in range(20)]
        # The least of many: the machine may be busy, a timer would delay every one.
        assert 0 <= min(waited) < 0.002
        assert rig.sizes == [1] * 20


async def test_times_are_measured():
    async with Rig() as rig:
        first = await rig.hold()
        [second] = await rig.submit(1)
        await asyncio.sleep(0.05)
        rig.scorer.release()
        assert (await first).infer_s >= 0.05
        assert (await second).queue_s >= 0.05
        assert (await second).infer_s < (await first).infer_s


async def test_with_a_delay_a_batch_waits_until_it_is_full():
    async with Rig(max_batch_size=3, max_queue_delay_ms=20_000) as rig:
        tasks = await rig.submit(1)
        await asyncio.sleep(0.05)
        assert rig.scorer.batches == []
        tasks += await rig.submit(2, 3)
        assert await rig.scores(tasks) == [0.01, 0.02, 0.03]  # at once: 20 s would be the test's end
        assert rig.scorer.batches == [[1, 2, 3]]


async def test_with_a_delay_a_batch_that_stays_small_runs_when_it_has_passed():
    async with Rig(max_queue_delay_ms=50) as rig:
        scored = await asyncio.wait_for(rig.batcher.submit([crop(1)]), 10)
        assert scored.results[0].score == 0.01
        assert scored.queue_s >= 0.045
        assert rig.scorer.batches == [[1]]


async def test_a_poisoned_crop_fails_alone_and_the_next_batch_runs():
    async with Rig(max_batch_size=2) as rig:
        first = await rig.hold()
        rig.scorer.poison = {13}
        tasks = await rig.submit(12, 13, 14, 15)
        rig.scorer.release()
        results = await asyncio.wait_for(asyncio.gather(first, *tasks, return_exceptions=True), 10)
        assert [type(result).__name__ for result in results] == [
            "Scored",
            "Scored",
            "ScoringFailedError",
            "Scored",
            "Scored",
        ]
        assert isinstance(results[2].__cause__, ValueError)
        assert "poisoned" not in results[2].detail
        assert (await rig.batcher.submit([crop(16)])).results[0].score == 0.16


@pytest.mark.parametrize("poison", range(8))
async def test_one_poisoned_crop_of_eight_costs_six_more_runs(poison):
    async with Rig() as rig:
        first = await rig.hold()
        rig.scorer.poison = {poison}
        tasks = await rig.submit(*range(8))
        rig.scorer.release()
        await first
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        for number, result in enumerate(results):
            if number == poison:
                assert isinstance(result, ScoringFailedError)
            else:
                assert result.results[0].score == number / 100
        assert len(rig.scorer.batches) == 2 + 6


async def test_three_poisoned_crops_of_eight_leave_the_others_their_scores():
    async with Rig() as rig:
        first = await rig.hold()
        rig.scorer.poison = {1, 4, 6}
        tasks = await rig.submit(*range(8))
        rig.scorer.release()
        await first
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        failed = {number for number, result in enumerate(results) if isinstance(result, ScoringFailedError)}
        assert failed == {1, 4, 6}


async def test_where_everything_fails_the_number_of_runs_is_bounded_and_it_is_told():
    told = []
    async with Rig(max_batch_size=64, on_failure=told.append) as rig:
        first = await rig.hold()
        rig.scorer.poison = set(range(64))
        tasks = await rig.submit(*range(64))
        rig.scorer.release()
        await first
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert {type(result) for result in results} == {ScoringFailedError}
        assert len(rig.scorer.batches) <= 2 + 4 * 6
        assert told == [rig.scorer.raises]
        await rig.batcher.submit([crop(80)])
        assert len(told) == 1


async def test_a_poisoned_crop_among_sound_ones_is_no_failure_of_the_model():
    told = []
    async with Rig(on_failure=told.append) as rig:
        first = await rig.hold()
        rig.scorer.poison = {1}
        tasks = await rig.submit(1, 2)
        rig.scorer.release()
        await asyncio.gather(first, *tasks, return_exceptions=True)
        assert told == []


async def test_the_crops_of_a_clip_fail_together():
    async with Rig() as rig:
        first = await rig.hold()
        rig.scorer.poison = {2}
        poisoned = asyncio.create_task(rig.batcher.submit(clip(1, 2, 3)))
        sound = asyncio.create_task(rig.batcher.submit(clip(4, 5)))
        await asyncio.sleep(0)
        rig.scorer.release()
        await first
        with pytest.raises(ScoringFailedError):
            await poisoned
        assert [each.score for each in (await sound).results] == [0.04, 0.05]


async def test_whoever_leaves_while_a_failing_batch_is_split_is_left_out():
    async with Rig() as rig:
        first = await rig.hold()
        rig.scorer.poison = {1}
        poisoned, gone, stays = await rig.submit(1, 2, 3)
        rig.taken.clear()
        rig.scorer.release_one()
        await rig.taken.wait()
        gone.cancel()
        rig.scorer.release()
        assert await rig.scores([first, stays]) == [0.99, 0.03]
        with pytest.raises(ScoringFailedError):
            await poisoned
        assert [1, 2, 3] in rig.scorer.batches
        assert not [batch for batch in rig.scorer.batches[2:] if 2 in batch]


@pytest.mark.parametrize("raised", [SystemExit(1), KeyboardInterrupt(), MemoryError(), ValueError()], ids=repr)
async def test_whatever_the_encoders_thread_raises_the_next_crop_is_scored(raised):
    async with Rig() as rig:
        rig.scorer.poison, rig.scorer.raises = {7}, raised
        for _ in range(3):
            with pytest.raises(ScoringFailedError):
                await rig.batcher.submit([crop(7)])
            assert (await rig.batcher.submit([crop(8)])).results[0].score == 0.08


async def test_a_worker_that_ends_by_a_fault_is_replaced(monkeypatch):
    async with Rig() as rig:
        await rig.batcher.submit([crop(1)])
        original, faults = rig.batcher._collect, [RuntimeError("a fault of ours")]

        async def collect():
            if faults:
                raise faults.pop()
            return await original()

        monkeypatch.setattr(rig.batcher, "_collect", collect)
        await rig.batcher.submit([crop(2)])  # the worker already waits; its next turn meets the fault
        assert (await asyncio.wait_for(rig.batcher.submit([crop(3)]), 10)).results[0].score == 0.03
        assert faults == []


async def test_a_fault_behind_the_scoring_answers_the_callers(monkeypatch):
    async with Rig() as rig:
        monkeypatch.setattr(rig.batcher, "_run", None)
        with pytest.raises(ScoringFailedError):
            await asyncio.wait_for(rig.batcher.submit([crop(1)]), 10)
        monkeypatch.undo()
        assert (await rig.batcher.submit([crop(2)])).results[0].score == 0.02


async def test_a_run_that_lasts_is_seen():
    async with Rig() as rig:
        assert rig.batcher.busy_s == 0
        first = await rig.hold()
        await asyncio.sleep(0.05)
        assert 0.05 <= rig.batcher.busy_s < 20
        rig.scorer.release()
        await first
        assert rig.batcher.busy_s == 0


@pytest.mark.parametrize("lost", [1, 2])
async def test_too_few_results_fail_the_batch_and_never_score_the_wrong_crop(lost):
    async with Rig() as rig:
        first = await rig.hold()
        tasks = await rig.submit(1, 2)
        rig.scorer.lose = lost
        rig.scorer.release()
        await first
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [ScoringFailedError] * 2
        assert (await rig.batcher.submit([crop(3)])).results[0].score == 0.03


async def test_a_cancelled_crop_is_not_scored_and_its_batch_mates_are_answered():
    async with Rig() as rig:
        first = await rig.hold()
        before, cancelled, after = await rig.submit(1, 2, 3)
        cancelled.cancel()
        await asyncio.sleep(0)
        rig.scorer.release()
        assert await asyncio.wait_for(rig.scores([first, before, after]), 10) == [0.99, 0.01, 0.03]
        assert rig.scorer.batches == [[99], [1, 3]]
        assert cancelled.cancelled()


async def test_a_crop_cancelled_while_its_batch_runs_leaves_its_batch_mates_alone():
    async with Rig() as rig:
        first = await rig.hold()
        one, two = await rig.submit(1, 2)
        rig.taken.clear()
        rig.scorer.release_one()
        await rig.taken.wait()
        one.cancel()
        await first
        rig.scorer.release()
        assert await asyncio.wait_for(rig.scores([two]), 10) == [0.02]


async def test_a_batch_of_nothing_but_cancelled_crops_is_not_run():
    async with Rig() as rig:
        first = await rig.hold()
        for task in await rig.submit(1, 2):
            task.cancel()
        rig.scorer.release()
        await first
        assert (await rig.batcher.submit([crop(3)])).results[0].score == 0.03
        assert rig.scorer.batches == [[99], [3]]


async def test_depth_counts_those_who_wait():
    async with Rig(max_batch_size=2) as rig:
        assert rig.batcher.depth == 0
        first = await rig.hold()
        assert rig.batcher.depth == 0
        tasks = await rig.submit(1, 2, 3)
        assert rig.batcher.depth == 3
        rig.scorer.release()
        await rig.scores([first, *tasks])
        assert rig.batcher.depth == 0


async def test_closing_answers_what_was_accepted_and_takes_no_more():
    async with Rig(max_batch_size=2) as rig:
        first = await rig.hold()
        tasks = await rig.submit(1, 2, 3)
        closing = asyncio.create_task(rig.batcher.close())
        await asyncio.sleep(0.02)
        assert not closing.done()
        with pytest.raises(OverloadedError, match="stopping"):
            await asyncio.wait_for(rig.batcher.submit([crop(4)]), 5)
        rig.scorer.release()
        await asyncio.wait_for(closing, 10)
        assert await rig.scores([first, *tasks]) == [0.99, 0.01, 0.02, 0.03]


async def test_before_its_start_it_takes_nothing():
    batcher = MicroBatcher(FakeScorer(), max_batch_size=1)
    with pytest.raises(OverloadedError):
        await batcher.submit([crop(1)])
    await batcher.close()


async def test_a_batch_is_explained_if_one_of_it_asks():
    async with Rig() as rig:
        first = await rig.hold()
        plain = await rig.submit(1)
        explained = await rig.submit(2, explain=True)
        rig.scorer.release()
        await first
        assert (await explained[0]).results[0].activation is not None
        await plain[0]
        await rig.batcher.submit([crop(3)])
        assert rig.scorer.explained == [False, True, False]


def clip(*numbers):
    return [crop(number) for number in numbers]


async def test_crops_of_one_submission_stay_in_one_batch():
    async with Rig() as rig:
        [held] = await rig.submit(99)
        single = asyncio.create_task(rig.batcher.submit(clip(1)))
        eight = asyncio.create_task(rig.batcher.submit(clip(11, 12, 13, 14, 15, 16, 17, 18)))
        late = asyncio.create_task(rig.batcher.submit(clip(2)))
        await asyncio.sleep(0)
        rig.scorer.release()
        assert [each.score for each in (await eight).results] == [number / 100 for number in range(11, 19)]
        assert [(await task).results[0].score for task in (single, late, held)] == [0.01, 0.02, 0.99]
        assert rig.scorer.batches == [[99], [1], [11, 12, 13, 14, 15, 16, 17, 18], [2]]


async def test_photos_share_the_batch_of_a_clip_where_there_is_room():
    async with Rig() as rig:
        [held] = await rig.submit(99)
        tasks = [asyncio.create_task(rig.batcher.submit(clip(*numbers))) for numbers in [(1, 2, 3, 4, 5), (6,), (7, 8)]]
        await asyncio.sleep(0)
        rig.scorer.release()
        await asyncio.gather(held, *tasks)
        assert rig.scorer.batches == [[99], [1, 2, 3, 4, 5, 6, 7, 8]]


async def test_more_crops_than_a_batch_may_have_are_run_in_pieces():
    async with Rig(max_batch_size=3) as rig:
        scored = await rig.batcher.submit(clip(1, 2, 3, 4, 5, 6, 7))
        assert [each.score for each in scored.results] == [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]
        assert rig.scorer.batches == [[1, 2, 3], [4, 5, 6], [7]]
        assert rig.sizes == [3, 3, 1]


async def test_depth_counts_the_crops_of_a_clip_and_of_one_that_was_put_by():
    async with Rig() as rig:
        [held] = await rig.submit(99)
        tasks = [asyncio.create_task(rig.batcher.submit(clip(*range(count)))) for count in (5, 8)]
        await asyncio.sleep(0)
        assert rig.batcher.depth == 13
        rig.scorer.release()
        await asyncio.gather(held, *tasks)
        assert rig.batcher.depth == 0


async def test_closing_answers_a_clip_that_was_put_by():
    async with Rig() as rig:
        [held] = await rig.submit(99)
        tasks = [asyncio.create_task(rig.batcher.submit(clip(*range(count)))) for count in (5, 8)]
        await asyncio.sleep(0)
        rig.scorer.release()
        await rig.batcher.close()
        assert [len((await task).results) for task in tasks] == [5, 8]
        await held


async def test_with_real_networks_the_poisoned_crop_fails_alone(fragile_bundle):
    scorer = load_bundle(fragile_bundle).scorer  # NaN for a crop that is brighter than the golden cases
    dark, bright = (np.full((224, 224, 3), level, np.uint8) for level in (60, 200))
    [alone] = scorer.score([dark])
    batcher = MicroBatcher(scorer, max_batch_size=8)
    batcher.start()
    submitted = [batcher.submit([crop]) for crop in (dark, dark, bright, dark, dark)]
    results = await asyncio.gather(*submitted, return_exceptions=True)
    assert isinstance(results.pop(2), ScoringFailedError)
    assert [result.results[0].score for result in results] == pytest.approx([alone.score] * 4)
    await batcher.close()
