import asyncio

import pytest

from liveness_service.errors import OverloadedError, ScoringFailedError
from liveness_service.scoring.batcher import MicroBatcher
from liveness_service.scoring.spare_cores import SpareCores
from support.batches import FakeScorer, Rig, clip, crop
from support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


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


async def test_a_batch_begins_beside_another_only_where_a_core_is_spare():
    busy = 1
    cores = SpareCores(2, 1, lambda: busy)
    async with Rig(cores=cores) as rig:
        first = await rig.hold()
        tasks = await rig.submit(1)
        await asyncio.sleep(0.05)
        assert rig.scorer.batches == [[99]]  # the other core finds faces
        busy = 0
        tasks += await rig.submit(2)
        await until(lambda: len(rig.scorer.batches) == 2)
        assert rig.scorer.batches == [[99], [1, 2]]
        tasks += await rig.submit(3)
        await asyncio.sleep(0.05)
        assert len(rig.scorer.batches) == 2  # both cores score
        assert rig.batcher.depth == 1
        rig.scorer.release()
        assert await rig.scores([first, *tasks]) == [0.99, 0.01, 0.02, 0.03]
        assert rig.batcher.busy_s == 0
    assert cores.has_room


async def test_runs_of_all_batchers_take_cores_and_each_thread_of_a_run_does():
    cores = SpareCores(8, 2, lambda: 1)
    async with Rig(cores=cores) as one, Rig(cores=cores) as other:
        for rig in (one, other):
            await rig.hold()
        assert cores.has_room  # 2 runs of 2 threads, a worker, and room for 2 more threads
        await one.submit(1)
        await until(lambda: len(one.scorer.batches) == 2)
        assert not cores.has_room
        one.scorer.release()
        await until(lambda: cores.has_room)


async def test_the_longest_of_several_runs_tells_that_the_encoder_hangs():
    async with Rig(cores=SpareCores(2, 1, lambda: 0)) as rig:
        first = await rig.hold()
        await asyncio.sleep(0.1)
        second = await rig.submit(1)
        await until(lambda: len(rig.scorer.batches) == 2)
        assert rig.batcher.busy_s >= 0.1
        rig.scorer.release()
        await rig.scores([first, *second])


async def test_what_fails_beside_another_run_fails_alone():
    async with Rig(cores=SpareCores(2, 1, lambda: 0)) as rig:
        first = await rig.hold()
        rig.scorer.poison = (1,)
        [poisoned] = await rig.submit(1)
        await until(lambda: len(rig.scorer.batches) == 2)
        rig.scorer.release()
        with pytest.raises(ScoringFailedError):
            await poisoned
        assert await rig.scores([first]) == [0.99]
        assert await rig.scores(await rig.submit(2)) == [0.02]
