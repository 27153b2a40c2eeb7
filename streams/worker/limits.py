"""How many messages may be refused before the worker stops: a topic must not drain into the dead letters."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from schemas.errors import WattledgerError

__all__ = ["DeadLetterLimits"]

RECENT_MESSAGES: Final = 1000
FEWEST_DEAD_LETTERS: Final = 50
"""The ratio is judged over this many messages, once there are at least so many dead letters."""


@dataclass(slots=True)
class DeadLetterLimits:
    """Counts what was refused lately and in a row."""

    most_ratio: float
    most_in_a_row: int
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT_MESSAGES))

    def check(self, received: int, refused: int, in_a_row: int) -> None:
        """Raise WattledgerError when a limit is passed.

        received, refused: since the last call. in_a_row: refused without a good message between, up to now.
        The dead letters are durable by then, their offsets not committed: a restart meets them again.
        """
        self._recent.extend([False] * (received - refused) + [True] * refused)
        bad = sum(self._recent)
        if in_a_row >= self.most_in_a_row:
            raise self._refusal(f"{in_a_row} messages in a row were refused", "--dead-letters-in-a-row")
        if bad >= FEWEST_DEAD_LETTERS and bad > self.most_ratio * RECENT_MESSAGES:
            raise self._refusal(
                f"{bad} of the last {RECENT_MESSAGES} messages were refused", "--dead-letter-ratio"
            )

    @staticmethod
    def _refusal(what: str, option: str) -> WattledgerError:
        return WattledgerError(
            f"{what}: stopping before a topic is drained; `wattledger dead-letters list` says why. Mend the "
            f"producer or upgrade this worker, and start it again; or raise {option} to set them aside and go on"
        )
