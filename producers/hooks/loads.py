"""An engine's loads as its thread tells them: begun, ended, and under which one a request is admitted."""

from collections import deque
from collections.abc import Callable
from typing import Final

from producers.hooks.contract import Admission
from schemas.side_inputs import Load

__all__ = ["Loads"]

SHORTEST_NS: Final = 1_000
"""Frames count time in whole microseconds."""


class Loads:
    """One engine process's. `take` is the recorder's thread's, the rest the engine's."""

    def __init__(self, engine_id: str, incarnation: str, now_ns: Callable[[], int]) -> None:
        self._engine_id = engine_id
        self._incarnation = incarnation
        self._now_ns = now_ns
        """In whole microseconds."""
        self._told: dict[str, Load] = {}
        self._events: deque[Load] = deque()
        self._adapters: dict[str, str] = {}
        self.current = ""
        """The model's latest load that is over: requests admitted from then on are counted under it."""

    def started(self, kind: str, what: str) -> str:
        """A model load, wake-up or adapter load begins; returns its id."""
        return self._tell(kind, what, self._now_ns(), 0)

    def ended(self, load_id: str) -> None:
        """The load is over."""
        begun = self._told[load_id]
        end_ns = max(self._now_ns(), begun.start_ns + SHORTEST_NS)
        self._told[load_id] = ended = Load(
            load_id, begun.kind, "", begun.engine_id, begun.incarnation, begun.start_ns, end_ns, begun.what
        )
        self._events.append(ended)
        if begun.kind == "adapter_load":
            self._adapters[begun.what] = load_id
        else:
            self.current = load_id

    def unloaded(self, what: str) -> None:
        """A model went to sleep, or an adapter was removed: nobody is admitted under its load any more."""
        now_ns = self._now_ns()
        self._tell("unload", what, now_ns, now_ns + SHORTEST_NS)

    def take(self) -> list[Load]:
        """What was told since the last call, in order."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def of(self, admission: Admission, current: str) -> str:
        """The load of a request whose pass began under `current`: its adapter's, if that was loaded."""
        return self._adapters.get(admission.adapter) or current

    def _tell(self, kind: str, what: str, start_ns: int, end_ns: int) -> str:
        load_id = f"{self._incarnation}-{len(self._told)}"
        load = Load(load_id, kind, "", self._engine_id, self._incarnation, start_ns, end_ns, what)
        self._told[load_id] = load
        self._events.append(load)
        return load_id
