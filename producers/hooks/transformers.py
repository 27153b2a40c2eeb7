"""Hugging Face transformers' continuous batching: wraps the batch processor's two methods.

transformers has no plugins, so the program that serves calls `register()` before it generates. The library
names no tenant either: the caller, who chooses request ids, tells whose each one is.
"""

import functools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from producers.hooks.contract import Admission, EngineFacts, EngineHook, Step
from producers.hooks.recorder import Pass, Recorder
from producers.hooks.rows import Row, StepMaker
from producers.hooks.settings import HookSettings
from producers.hooks.tenants import NO_TENANT

__all__ = ["TransformersHook", "register"]

log: Final = logging.getLogger(__name__)

TAP: Final = "_wattledger_tap"
METHODS: Final = ("prepare_next_batch", "update_batch")

TenantOf = Callable[[str], str]
"""The tenant of a request id."""


class TransformersHook:
    """EngineHook of transformers' ContinuousBatchProcessor."""

    engine = "transformers"
    tested = "5.19.0, run on CPU; 5.20 to 5.23 read"
    cannot_see = (
        "model loading (the program loads the model itself), LoRA adapters, prefix groups; a forked request "
        "(num_return_sequences > 1) is a request of its own"
    )

    def __init__(self, tenant_of: TenantOf = lambda _: NO_TENANT) -> None:
        self._tenant_of = tenant_of

    def install(self) -> bool:
        """Wrap the class once per process; see the contract."""
        try:
            import transformers
            from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor

            HookSettings.from_environment()
            missing = [name for name in METHODS if not hasattr(ContinuousBatchProcessor, name)]
        except Exception as error:
            log.exception("wattledger: the energy hook is not installed: %s", error)  # noqa: TRY401
            return False
        if missing:
            log.error(
                "wattledger: the energy hook is not installed: transformers %s lacks %s; tested with %s",
                transformers.__version__,
                ", ".join(missing),
                self.tested,
            )
            return False
        make = functools.partial(make_tap, self._tenant_of, transformers.__version__)
        wrap(ContinuousBatchProcessor, "prepare_next_batch", functools.partial(prepare_next_batch, make))
        wrap(ContinuousBatchProcessor, "update_batch", update_batch)
        return True


def register(tenant_of: TenantOf = lambda _: NO_TENANT) -> bool:
    """Install the hook; `tenant_of` names the tenant behind a request id."""
    hook: EngineHook = TransformersHook(tenant_of)
    return hook.install()


@dataclass(slots=True)
class Prepared:
    """A batch between its preparation and its update: requests, tokens, context before, whether one is due."""

    opened: Pass
    rows: list[tuple[Any, int, int, bool]]
    emitted: list[int] = field(default_factory=list)


class Tap:
    """One batch processor's tap; passes are updated in the order in which they were prepared."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.prepared: deque[Prepared] = deque()

    def prepare(self, opened: Pass, processor: Any) -> None:
        """After a batch was prepared: every state's position has been advanced by its query."""
        batch = current_batch(processor.inputs_and_outputs)
        rows = [
            (one.state, one.query_length, one.state.position_offset - one.query_length, one.has_new_token)
            for one in batch
        ]
        self.prepared.append(Prepared(opened, rows))

    def will_update(self) -> Prepared | None:
        """Before update_batch(): a request that finished meanwhile gets nothing (asynchronous overshoot)."""
        if not self.prepared:
            return None
        prepared = self.prepared.popleft()
        prepared.emitted = [
            int(due and state.status.name not in ("FINISHED", "PENDING"))
            for state, _, _, due in prepared.rows
        ]
        return prepared

    def updated(self, prepared: Prepared) -> None:
        """After update_batch()."""
        finished = [state.request_id for state, _, _, _ in prepared.rows if state.status.name == "FINISHED"]
        self.recorder.close(prepared.opened, (prepared, finished))


class Translator:
    """Makes Steps, on the recorder's thread. What finishes in a pass is finished for the next one."""

    def __init__(self, tenant_of: TenantOf) -> None:
        self._tenant_of = tenant_of
        self._steps = StepMaker()
        self._finished: list[str] = []
        self._last_end_ns = 0

    def step(self, payload: tuple[Prepared, list[str]], start_ns: int, end_ns: int) -> Step:
        """One pass; one at a time on the device, also where the next is prepared meanwhile."""
        prepared, finished = payload
        start_ns = max(start_ns, self._last_end_ns)
        end_ns = self._last_end_ns = max(end_ns, start_ns + 1000)
        rows = [
            Row(state.request_id, tokens, context, emitted, self._admission(state, context))
            for (state, tokens, context, _), emitted in zip(prepared.rows, prepared.emitted, strict=True)
        ]
        running = {row.key for row in rows}
        # Asynchronous batching may run a finished request once more: it leaves after that.
        gone = [key for key in self._finished if key not in running]
        self._finished = [key for key in self._finished if key in running] + finished
        return self._steps.step(start_ns, end_ns, rows, finished=gone)

    def _admission(self, state: Any, context: int) -> Admission:
        # A request that lost its cache starts again with its own output as prompt; its true prompt is kept.
        prompt = state._true_initial_tokens or len(state.initial_tokens)  # noqa: SLF001 - there is no other way
        return Admission(
            client_id=state.request_id[:512],
            tenant=self._tenant_of(state.request_id),
            prompt_tokens=prompt,
            cached_tokens=min(context, prompt),
        )


def current_batch(io: Any) -> list[Any]:
    """Requests of the batch just prepared; asynchronous batching keeps two of everything."""
    if hasattr(io, "io_pairs"):
        io = io.io_pairs[io.current_pair].host_io
    found: list[Any] = io.requests_in_batch
    return found


def make_tap(tenant_of: TenantOf, version: str, processor: Any) -> Tap:
    """A tap with a recorder that runs."""
    settings = HookSettings.from_environment()
    recorder = Recorder(facts(processor, version, settings), Translator(tenant_of).step, settings)
    recorder.start()
    return Tap(recorder)


def facts(processor: Any, version: str, settings: HookSettings) -> EngineFacts:
    """The engine, by the model's configuration and the device it is on."""
    uuids, gpu = settings.gpu_uuids, ""
    if not uuids and processor.model_device.type == "cuda":
        import torch

        properties = torch.cuda.get_device_properties(processor.model_device)
        uuids, gpu = (f"GPU-{properties.uuid}",), properties.name
    model = getattr(processor.config, "name_or_path", "") or processor.config.model_type
    where = uuids[0][4:12] if uuids else "cpu"
    return EngineFacts(
        name=f"{model.rsplit('/', 1)[-1]}-{where}",
        software=f"transformers {version}",
        model=model,
        precision=str(processor.model_dtype).removeprefix("torch."),
        gpu_uuids=uuids,
        gpu_model=gpu,
    )


def wrap(cls: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a method by `around(original, self)`, once."""
    original = getattr(cls, name)
    if getattr(original, "wattledger", False):
        return

    @functools.wraps(original)
    def wrapped(self: Any) -> Any:
        return around(original, self)

    wrapped.wattledger = True  # type: ignore[attr-defined]
    setattr(cls, name, wrapped)


def prepare_next_batch(make: Callable[[Any], Tap], original: Callable[[Any], bool], self: Any) -> bool:
    """Around ContinuousBatchProcessor.prepare_next_batch."""
    tap: Tap | None = getattr(self, TAP, None)
    opened = None
    try:
        if not hasattr(self, TAP):
            setattr(self, TAP, None)
            tap = make(self)
            setattr(self, TAP, tap)
        if tap is not None and tap.recorder.on:
            opened = tap.recorder.open()
    except Exception as error:
        log.exception("wattledger: the energy hook is off: %s", error)  # noqa: TRY401
    ready = False
    try:
        ready = original(self)
    finally:
        if tap is not None and opened is not None:
            if ready:
                try:
                    tap.prepare(opened, self)
                except Exception as error:  # noqa: BLE001 - the engine must not learn of it
                    tap.recorder.switch_off(f"after prepare_next_batch(): {error}", error)
            else:
                tap.recorder.cancel(opened)
    return ready


def update_batch(original: Callable[[Any], None], self: Any) -> None:
    """Around ContinuousBatchProcessor.update_batch."""
    tap: Tap | None = getattr(self, TAP, None)
    prepared = None
    try:
        prepared = tap.will_update() if tap is not None and tap.recorder.on else None
    except Exception as error:  # noqa: BLE001 - the engine must not learn of it
        assert tap is not None
        tap.recorder.switch_off(f"before update_batch(): {error}", error)
    original(self)
    if tap is not None and prepared is not None:
        try:
            tap.updated(prepared)
        except Exception as error:  # noqa: BLE001 - the engine must not learn of it
            tap.recorder.switch_off(f"after update_batch(): {error}", error)
