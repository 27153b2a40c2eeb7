"""The recorder: the engine's thread notes passes in a bounded queue; a thread of our own makes frames of
them.

The engine's thread does three list operations per iteration and never waits. Whatever goes wrong on either
side switches the recorder off, with one log line; the engine serves on, and its further energy is
`unobserved`.
"""

import atexit
import contextlib
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from producers import wire
from producers.clock import UnixClock
from producers.hooks.contract import EngineFacts, Step
from producers.hooks.link import AgentLink
from producers.hooks.loads import Loads
from producers.hooks.settings import HookSettings
from producers.hooks.spans import FrameHead, SpanRecorder
from schemas.frames import encode_iterations

__all__ = ["Pass", "Recorder"]

log: Final = logging.getLogger(__name__)

US: Final = 1_000
LAST_FRAME_S: Final = 0.5
"""How long an engine's orderly exit may wait for our last frame, which takes a millisecond."""
SEND_AGAIN_S: Final = 0.005
"""Between attempts to put the last frames into a socket that is full, or not welcomed yet."""


class Pass:
    """One forward pass as the engine's thread sees it; the translator makes a Step of it."""

    __slots__ = ("end_ns", "load_id", "payload", "start_ns")

    def __init__(self, load_id: str) -> None:
        self.load_id = load_id
        self.start_ns = 0
        """0 until stamped: then it started after any clock reading made before it was queued."""
        self.end_ns = 0
        """0 while it runs."""
        self.payload: Any = None


Translate = Callable[[Any, int, int], Step]
"""Makes a Step of a payload, its start and its end (whole microseconds; equal for what is no forward pass);
called in order of start, on the recorder's thread."""


class Recorder:
    """One engine's recorder. `open`, `close` and `loads` are the engine thread's; the rest is this object's
    own.

    `translate` turns payloads into steps; `held_from` tells the instant from which the next pass may still be
    counted (an engine whose iterations follow each other without a gap), or None.
    """

    def __init__(
        self,
        facts: EngineFacts,
        translate: Translate,
        settings: HookSettings,
        *,
        held_from: Callable[[], int | None] = lambda: None,
        clock: UnixClock | None = None,
    ) -> None:
        self.clock = clock or UnixClock()
        self.on = True
        start_ns = whole_us(self.clock.now())
        self.incarnation = f"{start_ns}-{secrets.token_hex(4)}"
        self._translate = translate
        self._held_from = held_from
        self._settings = settings
        self._start_ns = self._frame_start_ns = start_ns
        self._passes: deque[Pass] = deque()
        self._open_passes: list[Pass] = []
        self._spans = SpanRecorder()
        self._sequence = 0
        self._lost = 0
        self._off_reason = ""
        self._stop = threading.Event()
        self._patience_s = LAST_FRAME_S
        self.engine_id = settings.engine_id(facts.name)
        self.loads = Loads(self.engine_id, self.incarnation, lambda: whole_us(self.clock.now()))
        hello = wire.Hello(wire.PROTOCOL, self.incarnation, start_ns, self.engine_id, facts)
        self._link = AgentLink(settings.socket, hello, max_bytes=settings.buffer_bytes)
        self._thread = threading.Thread(target=self._run, name="wattledger-hook", daemon=True)

    @property
    def live_requests(self) -> int:
        """Requests that have run and are not known to have finished."""
        return self._spans.live

    def start(self) -> None:
        """Begin to make frames, also while the engine is idle: an empty frame is the heartbeat."""
        # A forked child must neither speak on our socket nor keep it open.
        os.register_at_fork(after_in_child=self._abandon)
        # An engine that shuts down in order gives us the last half second too.
        atexit.register(self.stop, LAST_FRAME_S)
        self._thread.start()

    # --- the engine's thread ---------------------------------------------------------------------------

    def open(self) -> Pass | None:
        """A pass begins now; None where there is no room, which costs the frame it would have been in."""
        if len(self._passes) >= self._settings.max_passes:
            self.lose(1)
            return None
        # Queued before it is stamped, so that a frame being cut meanwhile knows that it started later.
        opened = Pass(self.loads.current)
        self._passes.append(opened)
        opened.start_ns = self.clock.now()
        return opened

    def close(self, opened: Pass, payload: Any, end_ns: int = 0) -> None:
        """The pass ended, now or when it is said to."""
        opened.payload = payload
        opened.end_ns = end_ns or self.clock.now()

    def note(self, opened: Pass, payload: Any) -> None:
        """What was opened is no forward pass; its payload is translated all the same, with no duration."""
        opened.payload = payload
        opened.end_ns = opened.start_ns

    def add(self, start_ns: int, end_ns: int, payload: Any) -> None:
        """A pass that ended earlier, told by an engine that reports after the fact; in order of start."""
        if len(self._passes) >= self._settings.max_passes:
            self.lose(1)
            return
        told = Pass(self.loads.current)
        told.start_ns, told.payload = start_ns, payload
        told.end_ns = end_ns
        self._passes.append(told)

    def lose(self, passes: int) -> None:
        """Passes went unrecorded: the frame in the making is given up, which leaves a hole in the sequence."""
        self._lost += passes

    def cancel(self, opened: Pass) -> None:
        """What was opened never became a pass."""
        opened.end_ns = opened.start_ns

    def switch_off(self, reason: str, error: BaseException | None = None) -> None:
        """Stop recording for good, with one log line; safe from any thread, never raises."""
        if not self.on:
            return
        self.on = False
        self._off_reason = reason
        with contextlib.suppress(Exception):
            log.error(
                "wattledger: the energy hook is off (%s); the engine serves on, its energy is booked as "
                "unobserved until it restarts",
                reason,
                exc_info=error,
            )

    # --- our own thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        told = False
        stopping = False
        while not stopping:
            stopping = self._stop.wait(self._settings.frame_s)
            try:
                if self.on:
                    self.cut()
                elif not told:
                    told = True
                    self._passes.clear()
                    self._link.switch_off(wire.Off(self._off_reason))
                self._link.pump()
            except Exception as error:  # noqa: BLE001 - the engine must not learn of it
                self.switch_off(f"making a frame: {error}", error)
        with contextlib.suppress(Exception):
            self._send_the_rest()
        self._link.close()

    def _send_the_rest(self) -> None:
        """Until the socket has taken every frame, from where the agent reads it although we are gone."""
        deadline = time.monotonic() + self._patience_s
        while self._link.sending and time.monotonic() < deadline:
            time.sleep(SEND_AGAIN_S)
            self._link.pump()

    def cut(self) -> None:
        """Close the frame that ends now and hand it to the link."""
        for load in self.loads.take():
            self._link.announce(load)
        self.clock.follow()
        # Read before the queue is drained: what is queued later starts later.
        end_ns = whole_us(self.clock.now())
        done = self._drain(end_ns)
        for finished in done:
            step = self._translate(finished.payload, *whole(finished.start_ns, finished.end_ns))
            self._spans.add(step, partial(self.loads.of, current=finished.load_id))
        starts = [running.start_ns for running in self._open_passes if running.start_ns]
        held = self._held_from()
        if held is not None:
            starts.append(held)
        names = self._link.names
        head = FrameHead(
            group_id=names.group_id,
            engine_id=names.engine_id,
            incarnation=self.incarnation,
            incarnation_start_ns=self._start_ns,
            sequence=self._sequence,
            start_ns=self._frame_start_ns,
            end_ns=end_ns,
            watermark_ns=whole_us(min(end_ns, *starts)) if starts else end_ns,
        )
        frame = self._spans.build(head)
        if self._lost:
            # Rows are missing: a hole in the sequence says so, a frame without them would not.
            log.warning("wattledger: %d iterations were not recorded for want of room", self._lost)
            self._lost = 0
        else:
            self._link.offer(wire.Frame(self._sequence, names.naming, encode_iterations(frame)))
        self._sequence += 1
        self._frame_start_ns = end_ns

    def _drain(self, end_ns: int) -> list[Pass]:
        """Passes that ended before the frame's end, in the order they were opened, up to the first that has
        not.

        In that order because a pass may name requests as finished that one before it still runs.
        """
        opened = self._open_passes
        while self._passes:
            opened.append(self._passes.popleft())
        done = 0
        while done < len(opened) and opened[done].end_ns and whole_us(opened[done].end_ns) < end_ns:
            done += 1
        self._open_passes = opened[done:]
        if len(self._open_passes) > self._settings.max_passes:
            raise RuntimeError(f"{len(self._open_passes)} iterations have begun and not ended")
        return [each for each in opened[:done] if each.payload is not None]

    def _abandon(self) -> None:
        """In a forked child: this recorder is the parent's."""
        self.on = False
        self._link.close()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Cut a last frame, send what an agent that is there takes within `timeout_s`, and end the thread."""
        self._patience_s = timeout_s
        self._stop.set()
        # In a forked child there is no such thread any more.
        if self._thread.is_alive():
            self._thread.join(timeout_s)


def whole_us(time_ns: int) -> int:
    """Rounded down to whole microseconds, as frames count time."""
    return time_ns - time_ns % US


def whole(start_ns: int, end_ns: int) -> tuple[int, int]:
    """A pass's bounds in whole microseconds, at least one apart unless they are equal."""
    start_us = whole_us(start_ns)
    if end_ns == start_ns:
        return start_us, start_us
    return start_us, max(whole_us(end_ns), start_us + US)
