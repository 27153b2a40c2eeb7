"""What the HTTP front can be told to do wrong: errors, slowness, timeouts and cut connections."""

import threading
from dataclasses import asdict, dataclass, field
from typing import Literal

__all__ = ["Fault", "Faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do wrong, the next `times` times that a statement contains `statement`."""

    kind: Literal["error", "delay", "cut_before", "cut_after"]
    """`error`: answer with `code` and do not run it. `delay`: run it after `seconds` (longer than the
    client's patience: a timeout). `cut_before`, `cut_after`: close the connection without an answer, before
    or after running it."""
    statement: str = ""
    """A part of the statement's first 500 characters, without case and backticks; empty for any statement."""
    times: int = 1
    seconds: float = 0.0
    code: int = 999
    """An error code of ClickHouse; 999 is KEEPER_EXCEPTION, a cluster's everyday trouble."""


@dataclass(slots=True)
class Faults:
    """Faults that are still to come."""

    pending: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, statement: str) -> Fault | None:
        """The fault for `statement`, if one is due; it counts."""
        with self.lock:
            plain = statement.replace("`", "").lower()
            for index, fault in enumerate(self.pending):
                if fault.statement.lower() in plain:
                    if fault.times > 1:
                        self.pending[index] = Fault(**(asdict(fault) | {"times": fault.times - 1}))
                    else:
                        del self.pending[index]
                    return fault
        return None
