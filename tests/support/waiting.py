"""Waiting for what tells nobody that it has happened."""

import asyncio


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.01)
