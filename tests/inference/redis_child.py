"""A process that makes calls within limits that it shares: `python -m tests.inference.redis_child URL CALLS`."""

from __future__ import annotations

import asyncio
import sys
import time

from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.redis_limits import RedisQuotas

LIMITS = RequestLimits(requests_per_minute=20, tokens_per_minute=1000, max_in_flight=5)
MINUTE = 0.5


async def main(url: str, calls: int) -> None:
    """Print when each call was made and answered, by the clock of this machine."""
    async with RateLimiter(LIMITS, shared=RedisQuotas(url, minute=MINUTE)) as limiter:

        async def call() -> tuple[float, float]:
            reservation = await limiter.reserve("c", "m", input_tokens=50, output_tokens=20)
            sent = time.monotonic()
            await asyncio.sleep(0.01)
            answered = time.monotonic()
            reservation.settle(40, 10)
            return sent, answered

        for sent, answered in await asyncio.gather(*(call() for _ in range(calls))):
            print(sent, answered, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
