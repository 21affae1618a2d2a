"""Crops that cannot be scored, encoders that fail: what the others of their batch get."""

import asyncio

import numpy as np
import pytest

from liveness_core.bundle import load_bundle
from liveness_service.errors import ScoringFailedError
from liveness_service.scoring.batcher import MicroBatcher
from support.batches import Rig, clip, crop

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


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
