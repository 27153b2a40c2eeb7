"""The scheduler of a simulated engine: its state between two steps, and the steps.

All decoding requests advance together, so between an arrival, a finish and a full KV cache nothing changes
but the context: such a stretch is one step here, however long. Cost: O(log batch) per chunk, finish and
preemption, then O(iterations + pieces) in NumPy. Departs from vLLM: KV memory is counted in tokens, not in
blocks of 16, and a block enters the prefix cache when its prompt's prefill is complete.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from math import isqrt

from producers.simulation.columns import Recorder
from producers.simulation.engine_types import EngineType
from producers.simulation.physics import PS_PER_US, Timing, iteration_ps
from producers.simulation.prefix_cache import PrefixCache
from producers.simulation.requests import Requests
from producers.simulation.schedule import Schedule

__all__ = ["Scheduler"]

_FOREVER = 1 << 62


class Scheduler:
    """The scheduler's state between two steps."""

    def __init__(
        self, requests: Requests, engine: EngineType, times: Timing, *, static: bool, start_us: int
    ) -> None:
        self.times = times
        self.max_batch = engine.max_batch
        self.budget = engine.token_budget
        self.capacity = engine.kv_capacity_tokens
        self.static = static
        self.now_ps = start_us * PS_PER_US
        self.iteration = 0
        self.record = Recorder()

        count = len(requests)
        self.arrival_ps = [t * PS_PER_US for t in requests.arrival_us.tolist()]
        self.prompt = requests.prompt_tokens.tolist()
        self.output = requests.output_tokens.tolist()
        self.blocks = requests.blocks
        self.block_tokens = requests.block_tokens
        self.cache = PrefixCache(requests.block_tokens) if requests.block_tokens else None
        self.arrived = 0
        self.waiting: deque[int] = deque()
        self.running: dict[int, None] = {}  # in order of admission

        self.emitted = [0] * count
        self.computed = [0] * count  # tokens in the KV cache, but for the decode rows since `entered`
        self.entered = [-1] * count  # first iteration of the current decode stretch; -1: not decoding
        self.held: list[list[int]] = [[] for _ in range(count)]  # prefix blocks
        self.finishes: list[
            tuple[int, int, int]
        ] = []  # (last iteration, request, entered), stale after preemption
        self.unfinished = -1  # the one request whose prefill is not complete
        self.preempted = False  # in the current step
        self.decoding = 0
        self.context = 0  # Σ tokens in the KV cache of decoding requests
        self.private = 0  # KV tokens of running requests outside the prefix cache

    def step(self) -> bool:
        """Run one mixed iteration or one stretch of equal ones; False when nothing is left to do."""
        self._arrive()
        self.preempted = False
        if not self.running and not self.waiting:
            if self.arrived == len(self.arrival_ps):
                return False
            self.now_ps = max(self.now_ps, self.arrival_ps[self.arrived])
            return True
        while self.decoding and self._used() + self.decoding > self.capacity:
            self._preempt()
        chunks = self._chunks()
        if chunks:
            self._mixed(chunks)
        elif self.decoding:
            self._stretch(1 if self.preempted else self._stretch_limit())
        self._finish()
        return True

    def cut(self) -> Schedule:
        """Everything since the last cut, as columns; the requests in the batch go on in the next part."""
        for request in self.running:
            length = self.iteration - self.entered[request]
            if self.entered[request] >= 0 and length:
                self.record.decode(request, self.entered[request], length, self.computed[request])
                self.emitted[request] += length
                self.computed[request] += length
        current = [(last, r) for last, r, entered in self.finishes if self.entered[r] == entered]
        self.finishes = [(last, r, self.iteration) for last, r in current]
        heapify(self.finishes)
        for _, request in current:
            self.entered[request] = self.iteration
        schedule = self.record.schedule(len(self.prompt))
        self.record = Recorder(self.iteration)
        return schedule

    def _arrive(self) -> None:
        while self.arrived < len(self.arrival_ps) and self.arrival_ps[self.arrived] <= self.now_ps:
            self.waiting.append(self.arrived)
            self.arrived += 1

    def _used(self) -> int:
        return self.private + (self.cache.held_tokens if self.cache else 0)

    def _preempt(self) -> None:
        """Take the memory of the request admitted last; nobody is admitted in the same iteration."""
        self.preempted = True
        request, _ = self.running.popitem()
        if request == self.unfinished:
            self.unfinished = -1
            kept = self.computed[request]
        else:
            kept = self._leave_decode(request)
        self._free(request, kept)
        self.record.preempt(request, kept)
        self.computed[request] = 0
        self.waiting.appendleft(request)

    def _leave_decode(self, request: int) -> int:
        """End the request's decode stretch; returns its tokens in the KV cache."""
        first, entry = self.entered[request], self.computed[request]
        length = self.iteration - first
        if length:
            self.record.decode(request, first, length, entry)
            self.emitted[request] += length
        self.entered[request] = -1
        self.decoding -= 1
        self.context -= entry + length
        return entry + length

    def _free(self, request: int, kept: int) -> None:
        self.private -= kept - len(self.held[request]) * self.block_tokens
        if self.cache:
            self.cache.release(self.held[request])
        self.held[request] = []

    def _chunks(self) -> list[tuple[int, int]]:
        """Choose (request, tokens) to prefill in the next iteration and give them their KV memory."""
        budget = self.budget - self.decoding
        chunks: list[tuple[int, int]] = []
        if self.unfinished >= 0:
            request = self.unfinished
            tokens = min(self._target(request) - self.computed[request], budget)
            if self._used() + self.decoding + tokens > self.capacity:
                self._preempt()
                return chunks
            if tokens:
                chunks.append((request, tokens))
                self.private += tokens
                budget -= tokens
        if self.preempted or (self.static and self.running):
            return chunks
        while self.waiting and budget and len(self.running) < self.max_batch:
            request = self.waiting[0]
            tokens = self._admit(request, budget)
            if not tokens:
                break
            chunks.append((request, tokens))
            budget -= tokens
        return chunks

    def _target(self, request: int) -> int:
        """Tokens to prefill: the prompt, and what was emitted before a preemption."""
        return int(self.prompt[request]) + self.emitted[request]

    def _admit(self, request: int, budget: int) -> int:
        """Start `request` with at most `budget` tokens; 0 if its first chunk finds no memory."""
        target = self._target(request)
        found: tuple[int, ...] = ()
        idle = 0
        if self.cache:
            # The last token is always computed: its output is the next token.
            usable = self.blocks[request][: min(self.prompt[request], target - 1) // self.block_tokens]
            found = usable[: self.cache.hits(usable)]
            idle = self.cache.idle_among(found) * self.block_tokens
        reused = len(found) * self.block_tokens
        tokens = min(target - reused, budget)
        if self._used() + self.decoding + idle + tokens > self.capacity:
            return 0
        self.waiting.popleft()
        self.running[request] = None
        if self.cache:
            self.cache.acquire(found)
            self.held[request] = list(found)
        self.private += tokens
        self.computed[request] = reused
        self.record.admit(request, self.now_ps, reused)
        return tokens

    def _mixed(self, chunks: list[tuple[int, int]]) -> None:
        """One iteration with prefill chunks in it."""
        prefill = sum(tokens for _, tokens in chunks)
        pairs = sum(n * self.computed[request] + n * (n + 1) // 2 for request, n in chunks)
        duration = iteration_ps(self.times, self.decoding, self.context, prefill, pairs)
        rows, context, iteration = self.decoding, self.context, self.iteration
        self._advance(1, duration)
        self.unfinished = -1
        for request, tokens in chunks:
            before = self.computed[request]
            self.computed[request] = before + tokens
            complete = self.computed[request] == self._target(request)
            self.record.chunk(request, iteration, before, tokens, emits=complete)
            if complete:
                self._enter_decode(request)
            else:
                self.unfinished = request
        self.record.iterations(1, self.now_ps - duration, duration, 0, rows, context, self._used())
        self.record.prefill(iteration, len(chunks), prefill, pairs)

    def _enter_decode(self, request: int) -> None:
        self.emitted[request] += 1
        if self.cache:
            full = self.blocks[request][: self.prompt[request] // self.block_tokens]
            new = self.cache.insert(full[len(self.held[request]) :])
            self.held[request] += new
            self.private -= len(new) * self.block_tokens
        self.entered[request] = self.iteration
        self.decoding += 1
        self.context += self.computed[request]
        last = self.iteration + self.output[request] - self.emitted[request] - 1
        heappush(self.finishes, (last, request, self.iteration))

    def _stretch_limit(self) -> int:
        """How many iterations until the batch can change: a finish, a full KV cache, or an arrival."""
        limit = self._next_finish() - self.iteration + 1
        limit = min(limit, (self.capacity - self._used()) // self.decoding)
        joins = not self.waiting and len(self.running) < self.max_batch and not self.static
        if joins and self.arrived < len(self.arrival_ps):
            first, step = self._durations()
            limit = min(limit, _iterations_until(self.arrival_ps[self.arrived] - self.now_ps, first, step))
        return limit

    def _next_finish(self) -> int:
        while self.finishes:
            last, request, entered = self.finishes[0]
            if self.entered[request] == entered:
                return last
            heappop(self.finishes)
        return _FOREVER

    def _durations(self) -> tuple[int, int]:
        """Duration of the next decode iteration, and how much longer each one after it takes."""
        first = iteration_ps(self.times, self.decoding, self.context, 0, 0)
        return first, self.times.context_ps * self.decoding

    def _stretch(self, count: int) -> None:
        first, step = self._durations()
        rows, context, start = self.decoding, self.context, self.now_ps
        self._advance(count, count * first + step * (count * (count - 1) // 2))
        self.record.iterations(count, start, first, step, rows, context, self._used())

    def _advance(self, count: int, duration: int) -> None:
        """Let every decoding request run `count` iterations."""
        self.now_ps += duration
        self.iteration += count
        self.context += self.decoding * count
        self.private += self.decoding * count
        if self.cache:
            excess = self._used() + self.cache.idle_tokens - self.capacity
            if excess > 0:
                self.cache.evict(excess)

    def _finish(self) -> None:
        while self.finishes and self._next_finish() < self.iteration:
            _, request, _ = heappop(self.finishes)
            kept = self._leave_decode(request)
            del self.running[request]
            self._free(request, kept)
            self.record.finish(request, self.now_ps)


def _iterations_until(delay_ps: int, first_ps: int, step_ps: int) -> int:
    """The smallest k ≥ 1 with k·first + step·k(k−1)/2 ≥ delay, exactly."""
    if not step_ps:
        return max(1, -(-delay_ps // first_ps))
    linear = 2 * first_ps - step_ps
    k = max(1, (isqrt(linear * linear + 8 * step_ps * max(0, delay_ps)) - linear) // (2 * step_ps))
    while k * first_ps + step_ps * (k * (k - 1) // 2) < delay_ps:
        k += 1
    return k
