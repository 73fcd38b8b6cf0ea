"""
When the next request to a service may start: rate, shared pause, slowing down and recovering.

Each service has one `Limiter`, and every request of the process waits for its turn there, the first
try like the sixth. Starts are spaced evenly (no bursts): over any window of one second at most
``rate + 1`` requests begin (up to 2 % more at rates above 50, where timers are coarse). A request
that counts for two services waits until both allow it and takes both turns at the same moment.

A rate is given (`Rate`), or sought up to a ceiling (`AdaptiveRate`).
"""

from __future__ import annotations

from harvester.client.limits.adaptive import AdaptiveRate
from harvester.client.limits.limiter import Limiter
from harvester.client.limits.rate import LATENESS_FORGIVEN_SECONDS, Rate

__all__ = ["LATENESS_FORGIVEN_SECONDS", "AdaptiveRate", "Limiter", "Rate"]
