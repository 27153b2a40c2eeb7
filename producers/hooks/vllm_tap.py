"""One vLLM scheduler's tap: what it hands over each iteration, and how that becomes a Step.

Facts this rests on, checked on vLLM 0.32 by tests/vllm:
- `schedule()` returns with every request's `num_computed_tokens` already advanced; SchedulerOutput holds the
  values from before, for new and resumed requests in particular;
- with asynchronous scheduling two passes are in flight, and a request that stopped runs once more with its
  output dropped; `update_from_output` is called once per pass, in order, with that pass's SchedulerOutput;
- finished ids arrive with a later SchedulerOutput than any that still schedules them.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from producers.hooks.contract import Admission, Entry, Step
from producers.hooks.recorder import Pass, Recorder
from producers.hooks.settings import HookSettings
from producers.hooks.tenants import tenant_of
from schemas.iterations import DUMMY, NORMAL

__all__ = ["VllmTap", "VllmTranslator", "client_id"]

SUFFIX: Final = re.compile(r"-[0-9a-f]{8}$")
"""vLLM appends eight random hexadecimal digits to every request id (InputProcessor.assign_request_id)."""
CHOICE: Final = re.compile(r"^\d+_")
"""and puts the number of the choice before it where a request asks for several (n > 1)."""


@dataclass(slots=True)
class VllmPass:
    """What one pass leaves behind: references into the SchedulerOutput, and counts. No copy, no token."""

    kind: int = NORMAL
    batch: dict[str, int] = field(default_factory=dict)
    total: int = 0
    new: list[Any] = field(default_factory=list)
    """NewRequestData of requests that enter, and in `requests` the Request of each: it may be gone from the
    scheduler when this is translated."""
    requests: list[Any] = field(default_factory=list)
    cached: Any = None
    """CachedRequestData."""
    finished: Collection[str] = ()
    drafts: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    emitted: dict[str, int] | None = field(default_factory=dict)
    padded: int = 0
    continues: bool = False
    """Requests run on after this pass."""


def pass_of(output: Any, requests: dict[str, Any]) -> VllmPass:
    """What a SchedulerOutput says."""
    drafts = output.scheduled_spec_decode_tokens
    return VllmPass(
        batch=output.num_scheduled_tokens,
        total=output.total_num_scheduled_tokens,
        new=output.scheduled_new_reqs,
        requests=[requests[new.req_id] for new in output.scheduled_new_reqs],
        cached=output.scheduled_cached_reqs,
        finished=output.finished_req_ids,
        drafts={key: len(tokens) for key, tokens in drafts.items()} if drafts else {},
    )


def settle(passed: VllmPass, output: Any, delivered: dict[int, Any], *, continues: bool) -> None:
    """Add what update_from_output consumed (`output`) and what it returned (`delivered`)."""
    passed.continues = continues
    if passed.drafts:
        passed.rejected = rejections(passed.drafts, output)
    graph = output.cudagraph_stats
    if graph is not None:
        passed.padded = graph.num_padded_tokens
    sent = [item for outputs in delivered.values() for item in outputs.outputs]
    counts = [len(item.new_token_ids) for item in sent]
    if len(counts) == len(passed.batch) and counts.count(1) == len(counts):
        passed.emitted = None
    else:
        passed.emitted = {item.request_id: count for item, count in zip(sent, counts, strict=True) if count}


def rejections(drafts: dict[str, int], output: Any) -> dict[str, int]:
    """Drafts that verification refused: a request's sampled tokens are the accepted ones and one more."""
    rejected = {}
    for key, count in drafts.items():
        sampled = len(output.sampled_token_ids[output.req_id_to_index[key]])
        if sampled:
            rejected[key] = max(0, count - (sampled - 1))
    return rejected


class VllmTranslator:
    """Makes Steps of passes, on the recorder's thread; remembers where the last pass ended."""

    def __init__(self, settings: HookSettings, *, overlapping: bool, suffixed: bool = True) -> None:
        self._settings = settings
        self._suffixed = suffixed
        """Whether the engine appends random digits to request ids."""
        self._overlapping = overlapping
        """Pipeline parallel: passes run side by side, each from its own start."""
        self._last_end_ns = 0
        self._continues = False
        # So that the group of a prefix says nothing of its tokens, not even to who can guess them.
        self._prefix_key = secrets.token_bytes(16)

    def held_from(self) -> int | None:
        """Where the next pass may be said to have started: with requests running, an engine has no pauses."""
        return self._last_end_ns if self._continues and not self._overlapping else None

    def step(self, passed: VllmPass, start_ns: int, end_ns: int) -> Step:
        """One pass as a Step.

        A single pipeline runs one pass at a time although the scheduler works ahead, and what lies between
        two passes while requests run (sampling, scheduling) is theirs: a pass starts where the last one
        ended.
        """
        if start_ns < end_ns and not self._overlapping:
            if self._continues or start_ns < self._last_end_ns:
                start_ns = self._last_end_ns
            end_ns = max(end_ns, start_ns + 1000)
            self._last_end_ns = end_ns
        self._continues = passed.continues
        return Step(
            start_ns=start_ns,
            end_ns=end_ns,
            new_tokens=passed.batch,
            total_tokens=passed.total,
            entered=self._entered(passed),
            finished=passed.finished,
            drafts=passed.drafts,
            rejected=passed.rejected,
            emitted=passed.emitted,
            kind=passed.kind,
            padded_tokens=passed.padded,
        )

    def _entered(self, passed: VllmPass) -> dict[str, Entry]:
        entered = {}
        for new, request in zip(passed.new, passed.requests, strict=True):
            context = new.num_computed_tokens
            entered[new.req_id] = Entry(context, self._admission(request, context))
        cached = passed.cached
        if cached is not None and cached.resumed_req_ids:
            for key, context in zip(cached.req_ids, cached.num_computed_tokens, strict=True):
                if key in cached.resumed_req_ids:
                    entered[key] = Entry(context)
        return entered

    def _admission(self, request: Any, context: int) -> Admission:
        parameters = request.sampling_params
        adapter = request.lora_request.lora_name if request.lora_request is not None else ""
        tenant = tenant_of(
            self._settings,
            xargs=parameters.extra_args if parameters is not None else None,
            adapter=adapter,
            cache_salt=request.cache_salt,
        )
        return Admission(
            client_id=client_id(request.request_id, suffixed=self._suffixed),
            tenant=tenant,
            prompt_tokens=request.num_prompt_tokens,
            cached_tokens=min(context, request.num_prompt_tokens),
            adapter=adapter,
            prefix_group=self._prefix_group(request.block_hashes),
        )

    def _prefix_group(self, block_hashes: list[bytes]) -> int:
        """Requests whose first KV block is the same (tokens, adapter and salt) are one group."""
        if not block_hashes:
            return 0
        digest = hashlib.blake2b(bytes(block_hashes[0]), key=self._prefix_key, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1


def client_id(request_id: str, *, suffixed: bool = True) -> str:
    """The id as the client knows it, which is the `id` of the response.

    A completion has one engine request per prompt, `cmpl-req-abc-0-a0d0bc47`, and the client sees
    `cmpl-req-abc`; a chat completion has `chatcmpl-req-abc-a0d0bc47`.
    """
    plain = SUFFIX.sub("", request_id) if suffixed else request_id
    plain = CHOICE.sub("", plain)
    if plain.startswith("cmpl-"):
        plain = plain.rpartition("-")[0]
    return plain


class VllmTap:
    """The engine thread's side: called around the scheduler's methods; an error here switches the hook
    off.
    """

    def __init__(self, recorder: Recorder, translator: VllmTranslator) -> None:
        self.recorder = recorder
        self.translator = translator
        self.adapters: dict[int, str] = {}
        """By vLLM's number: adapters whose load was told, and no removal since."""
        self._in_flight: dict[int, tuple[Any, Pass, VllmPass]] = {}

    def opening(self) -> Pass | None:
        """Before schedule()."""
        try:
            return self.recorder.open() if self.recorder.on else None
        except Exception as error:  # noqa: BLE001 - the engine must not learn of it
            self.recorder.switch_off(f"before schedule(): {error}", error)
            return None

    def scheduled(self, opened: Pass, output: Any, requests: dict[str, Any]) -> None:
        """After schedule(): remember the pass by its SchedulerOutput, or note that there is none."""
        try:
            passed = pass_of(output, requests)
            if passed.batch:
                # Kept with the output itself, so that no other object can have its id meanwhile.
                self._in_flight[id(output)] = (output, opened, passed)
            else:
                self.recorder.note(opened, passed)
        except Exception as error:  # noqa: BLE001 - the engine must not learn of it
            self.recorder.switch_off(f"after schedule(): {error}", error)

    def updated(
        self, scheduled: Any, end_ns: int, output: Any, delivered: dict[int, Any], *, continues: bool
    ) -> None:
        """After update_from_output(scheduled, output), which returned `delivered`."""
        try:
            found = self._in_flight.pop(id(scheduled), None)
            if found is None or not self.recorder.on:
                return
            _, opened, passed = found
            settle(passed, output, delivered, continues=continues)
            self.recorder.close(opened, passed, end_ns)
        except Exception as error:  # noqa: BLE001 - the engine must not learn of it
            self.recorder.switch_off(f"after update_from_output(): {error}", error)

    def failed(self, opened: Pass) -> None:
        """The engine's own method raised: there was no pass."""
        self.recorder.cancel(opened)

    def dummy(self, opened: Pass) -> None:
        """After execute_dummy_batch(): energy without a request."""
        try:
            self.recorder.close(opened, VllmPass(kind=DUMMY))
        except Exception as error:  # noqa: BLE001 - the engine must not learn of it
            self.recorder.switch_off(f"after execute_dummy_batch(): {error}", error)
