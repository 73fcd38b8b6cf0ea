"""
Rate limiter: when the next request to a service may start.

Each service has one `RateLimiter`, and every request of the process waits there, the first attempt like the
sixth. Its algorithm is GCRA (a leaky bucket without a burst): starts are spaced evenly. So in any second at
most ``rate + 1`` requests begin (up to 2 % more at rates above 50, where timers are coarse). A request that
counts for two services waits until both allow it, and both count it at the same moment.

A rate is given (`Rate`), or found out up to a limit (`AdaptiveRate`).
"""

from __future__ import annotations

from harvester.client.limits.adaptive import AdaptiveRate
from harvester.client.limits.limiter import Limiter
from harvester.client.limits.rate import LATENESS_FORGIVEN_SECONDS, Rate
from harvester.client.limits.rate_limiter import Outcome, RateLimiter, RateStatistics

__all__ = [
    "LATENESS_FORGIVEN_SECONDS",
    "AdaptiveRate",
    "Limiter",
    "Outcome",
    "Rate",
    "RateLimiter",
    "RateStatistics",
]
