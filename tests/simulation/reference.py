"""The scheduler again, one iteration and one request at a time, without jumps, heaps or prefix cache.

Slow and plain on purpose: the engine's schedule must equal this one to the microsecond.
"""

from dataclasses import dataclass, field

from producers.simulation.engine_types import EngineType
from producers.simulation.physics import PS_PER_US, iteration_ps, timing
from producers.simulation.requests import Requests


@dataclass
class Life:
    """One request."""

    prompt: int
    output: int
    arrival_ps: int
    emitted: int = 0
    computed: int = 0
    decoding: bool = False
    finished_us: int = -1


@dataclass
class Walk:
    """What was scheduled: per iteration (start_us, end_us, rows, context, prefill tokens)."""

    iterations: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    finished_us: list[int] = field(default_factory=list)


def walk(requests: Requests, engine: EngineType, *, static: bool = False) -> Walk:
    """Schedule iteration by iteration."""
    times = timing(engine)
    lives = [
        Life(p, o, a * PS_PER_US)
        for p, o, a in zip(
            requests.prompt_tokens.tolist(),
            requests.output_tokens.tolist(),
            requests.arrival_us.tolist(),
            strict=True,
        )
    ]
    pending, waiting, running = list(lives), [], []
    now = 0
    result = Walk()
    while pending or waiting or running:
        while pending and pending[0].arrival_ps <= now:
            waiting.append(pending.pop(0))
        if not waiting and not running:
            now = pending[0].arrival_ps
            continue
        rows = _select(waiting, running, engine, static=static)
        decodes = [life for life, chunk in rows if not chunk]
        chunks = [(life, chunk) for life, chunk in rows if chunk]
        context = sum(life.computed for life in decodes)
        pairs = sum(n * life.computed + n * (n + 1) // 2 for life, n in chunks)
        tokens = sum(n for _, n in chunks)
        if not rows:
            continue
        start = now
        now += iteration_ps(times, len(decodes), context, tokens, pairs)
        result.iterations.append((start // PS_PER_US, now // PS_PER_US, len(decodes), context, tokens))
        for life, chunk in rows:
            life.computed += chunk or 1
            if life.computed == life.prompt + life.emitted:
                life.emitted += 1
                life.decoding = True
            if life.emitted == life.output:
                life.finished_us = now // PS_PER_US
                running.remove(life)
    result.finished_us = [life.finished_us for life in lives]
    return result


def _select(
    waiting: list[Life], running: list[Life], engine: EngineType, *, static: bool
) -> list[tuple[Life, int]]:
    """Choose (request, chunk tokens or 0 for a decode row); preempts when the KV cache is full."""
    was_empty = not running
    preempted = False

    def preempt() -> None:
        victim = running.pop()
        victim.computed, victim.decoding = 0, False
        waiting.insert(0, victim)

    while sum(life.computed + life.decoding for life in running) > engine.kv_capacity_tokens:
        preempt()
        preempted = True
    rows = [(life, 0) for life in running if life.decoding]
    used = sum(life.computed for life in running) + len(rows)
    budget = engine.token_budget - len(rows)
    for life in [life for life in running if not life.decoding]:
        chunk = min(life.prompt + life.emitted - life.computed, budget)
        if used + chunk > engine.kv_capacity_tokens:
            preempt()
            return rows
        if chunk:
            rows.append((life, chunk))
            used, budget = used + chunk, budget - chunk
    if preempted or (static and not was_empty):
        return rows
    while waiting and budget and len(running) < engine.max_batch:
        life = waiting[0]
        chunk = min(life.prompt + life.emitted, budget)
        if used + chunk > engine.kv_capacity_tokens:
            break
        running.append(waiting.pop(0))
        rows.append((life, chunk))
        used, budget = used + chunk, budget - chunk
    return rows
