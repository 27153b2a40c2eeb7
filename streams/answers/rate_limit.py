"""How often one caller may ask: a bucket of tokens that fills at a steady rate."""

from collections import OrderedDict
from dataclasses import dataclass, field

__all__ = ["RateLimit"]


@dataclass(slots=True)
class RateLimit:
    """`burst` calls at once, `per_second` in the long run, for each caller; remembers the latest `most_callers`."""

    per_second: float
    burst: float
    most_callers: int = 10_000
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait_s(self, caller: str, now_s: float) -> float:
        """0 if `caller` may ask now, and then it has; else the seconds until it may."""
        tokens, since_s = self._buckets.pop(caller, (self.burst, now_s))
        tokens = min(self.burst, tokens + (now_s - since_s) * self.per_second)
        allowed = tokens >= 1.0
        self._buckets[caller] = (tokens - 1.0 if allowed else tokens, now_s)
        while len(self._buckets) > self.most_callers:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self.per_second
