"""The SGLang plugin (entry point `sglang.srt.plugins`): around `Scheduler.run_batch` and `process_batch_result`.

Written for SGLang 0.5.23. Its scheduler's classes are tested as they are, in their own package, without a GPU: what
runs is its hook registry and its structures, not its forward pass.
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
from producers.hooks.tenants import ensure_key, tenant_of
from schemas.iterations import DUMMY, NORMAL

__all__ = ["SglangHook", "Tap", "Translator", "register"]

log: Final = logging.getLogger(__name__)

TAP: Final = "_wattledger_tap"
SCHEDULER: Final = "sglang.srt.managers.scheduler.Scheduler"


class SglangHook:
    """EngineHook of SGLang."""

    engine = "sglang"
    tested = "0.5.23: its registry and its scheduler's structures on CPU; no forward pass was run"
    cannot_see = (
        "drafts of speculative decoding (a row shows the tokens that were accepted), CUDA-graph padding, "
        "model loading before the first batch, prefix groups"
    )

    def install(self) -> bool:
        """Register with SGLang's own hook registry, which wraps the methods; see the contract."""
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType

        HookSettings.from_environment()
        around = functools.partial(run_batch, make_tap)
        HookRegistry.register(f"{SCHEDULER}.run_batch", around, HookType.AROUND)
        HookRegistry.register(f"{SCHEDULER}.process_batch_result", process_batch_result, HookType.AROUND)
        return True


def register() -> None:
    """What SGLang calls; never raises."""
    try:
        ensure_key()
        hook: EngineHook = SglangHook()
        hook.install()
    except Exception as error:
        log.exception("wattledger: the energy hook is not installed: %s", error)  # noqa: TRY401


@dataclass(slots=True)
class Launched:
    """A batch between its launch and its result: requests, tokens, context before."""

    opened: Pass
    rows: list[tuple[Any, int, int]]
    kind: int = NORMAL
    emitted: list[int] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


def rows_of(batch: Any) -> list[tuple[Any, int, int]]:
    """Request, tokens computed and context before, of every row of a ScheduleBatch.

    An extend (or mixed) batch lists both per request; in a decode batch `seq_lens` already counts the token
    that is about to be computed.
    """
    if batch.forward_mode.is_extend():
        return list(zip(batch.reqs, batch.extend_lens, batch.prefix_lens, strict=True))
    if batch.seq_lens_cpu is None:
        # A speculative batch keeps its lengths on the device: all tokens but the last are in the cache.
        return [(req, 1, req.seqlen - 1) for req in batch.reqs]
    return [(req, 1, int(length) - 1) for req, length in zip(batch.reqs, batch.seq_lens_cpu, strict=True)]


class Tap:
    """One scheduler's tap. With overlap a batch is launched before the last one's result; results keep order."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.launched: deque[Launched] = deque()

    def launch(self, opened: Pass, batch: Any) -> None:
        """Before run_batch: what is about to run."""
        if batch.forward_mode.is_idle():
            self.launched.append(Launched(opened, [], DUMMY))
        else:
            self.launched.append(Launched(opened, rows_of(batch)))

    def before_result(self) -> tuple[Launched, list[int]] | None:
        """Before process_batch_result: how many tokens each request has had."""
        if not self.launched:
            return None
        launched = self.launched.popleft()
        return launched, [len(req.output_ids) for req, _, _ in launched.rows]

    def after_result(self, launched: Launched, had: list[int]) -> None:
        """After process_batch_result: what each has been given, and who is done."""
        launched.emitted = [
            len(req.output_ids) - before for (req, _, _), before in zip(launched.rows, had, strict=True)
        ]
        launched.finished = [req.rid for req, _, _ in launched.rows if req.finished()]
        self.recorder.close(launched.opened, launched)


class Translator:
    """Makes Steps, on the recorder's thread. A finished request may run once more (overlap), and then leaves."""

    def __init__(self, settings: HookSettings) -> None:
        self._settings = settings
        self._steps = StepMaker()
        self._finished: list[str] = []
        self._last_end_ns = 0

    def step(self, launched: Launched, start_ns: int, end_ns: int) -> Step:
        """One pass; the device runs one at a time although the next is launched meanwhile."""
        start_ns = max(start_ns, self._last_end_ns)
        end_ns = self._last_end_ns = max(end_ns, start_ns + 1000)
        rows = [
            # Of a verified batch only what was accepted stays in the context.
            Row(req.rid, max(tokens, emitted), context, emitted, self._admission(req, context))
            for (req, tokens, context), emitted in zip(launched.rows, launched.emitted, strict=True)
        ]
        running = {row.key for row in rows}
        gone = [key for key in self._finished if key not in running]
        self._finished = [key for key in self._finished if key in running] + launched.finished
        return self._steps.step(start_ns, end_ns, rows, finished=gone, kind=launched.kind)

    def _admission(self, req: Any, context: int) -> Admission:
        prompt = len(req.origin_input_ids)
        adapter = req.lora_id or ""
        return Admission(
            client_id=str(req.rid)[:512],
            tenant=tenant_of(
                self._settings,
                xargs=getattr(req.sampling_params, "custom_params", None),
                adapter=adapter,
                cache_salt=getattr(req, "extra_key", None),
            ),
            prompt_tokens=prompt,
            cached_tokens=min(context, prompt),
            adapter=adapter,
        )


def make_tap(scheduler: Any) -> Tap | None:
    """A tap with a recorder that runs, on the rank that speaks for its engine; None on the others."""
    from sglang.srt.runtime_context import get_parallel

    parallel = get_parallel()
    if parallel.tp_rank or parallel.pp_rank:
        return None
    settings = HookSettings.from_environment()
    recorder = Recorder(facts(scheduler, settings), Translator(settings).step, settings)
    recorder.start()
    return Tap(recorder)


def facts(scheduler: Any, settings: HookSettings) -> EngineFacts:
    """The engine, by its server arguments; its GPUs are those of its tensor and pipeline ranks."""
    from sglang.srt.runtime_context import get_device
    from sglang.version import __version__ as version

    arguments = scheduler.server_args
    uuids, gpu = settings.gpu_uuids, ""
    if not uuids:
        import torch

        step = getattr(arguments, "gpu_id_step", 1)
        ids = [get_device().gpu_id + rank * step for rank in range(arguments.tp_size * arguments.pp_size)]
        properties = [torch.cuda.get_device_properties(index) for index in ids]
        uuids, gpu = tuple(f"GPU-{each.uuid}" for each in properties), properties[0].name
    model = arguments.served_model_name or arguments.model_path
    return EngineFacts(
        name=f"{model.rsplit('/', 1)[-1]}-{uuids[0][4:12]}",
        software=f"sglang {version}",
        model=model,
        precision=arguments.quantization or arguments.dtype,
        gpu_uuids=uuids,
        gpu_model=gpu,
        tensor_parallel=arguments.tp_size,
        pipeline_parallel=arguments.pp_size,
        data_parallel=arguments.dp_size,
    )


def run_batch(
    make: Callable[[Any], Tap | None],
    original: Callable[..., Any],
    self: Any,
    batch: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Around Scheduler.run_batch."""
    tap: Tap | None = None
    try:
        if not hasattr(self, TAP):
            setattr(self, TAP, None)
            setattr(self, TAP, make(self))
        tap = getattr(self, TAP)
        opened = tap.recorder.open() if tap is not None and tap.recorder.on else None
        if tap is not None and opened is not None:
            tap.launch(opened, batch)
    except Exception as error:  # noqa: BLE001 - the engine must not learn of it
        switch_off(tap, "before run_batch()", error)
    return original(self, batch, *args, **kwargs)


def process_batch_result(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around Scheduler.process_batch_result."""
    tap: Tap | None = getattr(self, TAP, None)
    pending = None
    try:
        pending = tap.before_result() if tap is not None and tap.recorder.on else None
    except Exception as error:  # noqa: BLE001 - the engine must not learn of it
        switch_off(tap, "before process_batch_result()", error)
    result = original(self, *args, **kwargs)
    if tap is not None and pending is not None:
        try:
            tap.after_result(*pending)
        except Exception as error:  # noqa: BLE001 - the engine must not learn of it
            switch_off(tap, "after process_batch_result()", error)
    return result


def switch_off(tap: Tap | None, where: str, error: Exception) -> None:
    """The hook ends here; the engine goes on."""
    if tap is not None:
        tap.recorder.switch_off(f"{where}: {error}", error)
    else:
        log.error("wattledger: the energy hook is off (%s: %s)", where, error, exc_info=error)
