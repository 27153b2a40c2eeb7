"""The vLLM plugin (entry point `vllm.general_plugins`): wraps the scheduler's two methods, in every process.

The base class is wrapped, so the default, the asynchronous and a subclassed scheduler (`--scheduler-cls`, as
Dynamo uses) are all tapped, and no flag is needed. vLLM loads plugins several times and in processes that
never schedule; there this costs an import.
"""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final

from producers.hooks.contract import EngineHook
from producers.hooks.recorder import Recorder
from producers.hooks.settings import HookSettings
from producers.hooks.tenants import ensure_key
from producers.hooks.vllm_facts import vllm_facts
from producers.hooks.vllm_tap import VllmTap, VllmTranslator

__all__ = ["VllmHook", "register"]

log: Final = logging.getLogger(__name__)

TAP: Final = "_wattledger_tap"
"""Attribute of a scheduler (or executor) that holds its tap; None where the hook is off."""

FIELDS: Final = {
    "SchedulerOutput": (
        "num_scheduled_tokens",
        "total_num_scheduled_tokens",
        "scheduled_new_reqs",
        "scheduled_cached_reqs",
        "scheduled_spec_decode_tokens",
        "finished_req_ids",
    ),
    "NewRequestData": ("req_id", "num_computed_tokens"),
    "CachedRequestData": ("req_ids", "resumed_req_ids", "num_computed_tokens"),
    "ModelRunnerOutput": ("sampled_token_ids", "req_id_to_index", "cudagraph_stats"),
    "EngineCoreOutput": ("request_id", "new_token_ids"),
}
"""What the tap reads; a version that lacks one of them is refused."""


class VllmHook:
    """EngineHook of vLLM V1."""

    engine = "vllm"
    tested = "0.32.0, run on CPU; 0.33 read"
    cannot_see = (
        "dummy batches have no tokens of their own; adapters that a worker loads by itself, on first use, "
        "are part of the iteration, and one that /v1/unload_lora_adapter takes from the API stays with the "
        "workers, until others drive it out; encoder work of multimodal prompts is not counted in tokens"
    )

    def install(self) -> bool:
        """Wrap the classes once per process; see the contract."""
        from vllm import __version__ as version

        try:
            HookSettings.from_environment()
            missing = missing_fields()
        except Exception as error:
            log.exception("wattledger: the energy hook is not installed: %s", error)  # noqa: TRY401
            return False
        if missing:
            log.error(
                "wattledger: the energy hook is not installed: vLLM %s lacks %s, which it reads. Tested with "
                "vLLM %s: install a wattledger that names this version, or go on without measured energy",
                version,
                ", ".join(missing),
                self.tested,
            )
        wrap_engine(Taps(version, refused=", ".join(missing)))
        return not missing


def register() -> None:
    """What vLLM calls; never raises."""
    try:
        # Before the engine's process is started: it inherits the key from this one.
        ensure_key()
        hook: EngineHook = VllmHook()
        hook.install()
    except Exception as error:
        log.exception("wattledger: the energy hook is not installed: %s", error)  # noqa: TRY401


def missing_fields() -> list[str]:
    """What this vLLM lacks of FIELDS, and methods whose arguments are not those we wrap."""
    from vllm.v1.core.sched import output as scheduled
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.outputs import ModelRunnerOutput

    classes = {
        "SchedulerOutput": scheduled.SchedulerOutput,
        "NewRequestData": scheduled.NewRequestData,
        "CachedRequestData": scheduled.CachedRequestData,
        "ModelRunnerOutput": ModelRunnerOutput,
        "EngineCoreOutput": EngineCoreOutput,
    }
    missing = [
        f"{name}.{field}"
        for name, cls in classes.items()
        for field in FIELDS[name]
        if field not in field_names(cls)
    ]
    arguments = list(inspect.signature(Scheduler.update_from_output).parameters)
    if arguments != ["self", "scheduler_output", "model_runner_output"]:
        missing.append(f"Scheduler.update_from_output{tuple(arguments)}")
    return missing


def field_names(cls: Any) -> set[str]:
    """Fields of a dataclass or a msgspec Struct."""
    if dataclasses.is_dataclass(cls):
        return {field.name for field in dataclasses.fields(cls)}
    return set(getattr(cls, "__struct_fields__", ()))


class Taps:
    """Makes the tap of each engine in this process: when its executor starts, or else at its first
    schedule().
    """

    def __init__(self, version: str, *, refused: str) -> None:
        self._version = version
        self._refused = refused
        self._loading: dict[int, tuple[VllmTap, str]] = {}

    def begin_load(self, config: Any) -> None:
        """The engine's executor is about to load the model."""
        if id(config) not in self._loading:
            tap = self.make(config)
            load_id = tap.recorder.loads.started("model_load", config.model_config.model)
            self._loading[id(config)] = (tap, load_id)

    def end_load(self, config: Any) -> VllmTap:
        """The engine's scheduler exists, so the model is loaded and warm; returns its tap."""
        tap, load_id = self._loading.pop(id(config), (None, ""))
        if tap is None:
            return self.make(config)
        tap.recorder.loads.ended(load_id)
        return tap

    def make(self, config: Any) -> VllmTap:
        """A tap with a recorder that runs."""
        import vllm.envs

        settings = HookSettings.from_environment()
        translator = VllmTranslator(
            settings,
            overlapping=config.parallel_config.pipeline_parallel_size > 1,
            suffixed=not getattr(vllm.envs, "VLLM_DISABLE_REQUEST_ID_RANDOMIZATION", False),
        )
        facts = vllm_facts(config, self._version, settings)
        recorder = Recorder(facts, translator.step, settings, held_from=translator.held_from)
        recorder.start()
        if self._refused:
            recorder.switch_off(f"vLLM {self._version} lacks {self._refused}")
        return VllmTap(recorder, translator)


def wrap_engine(taps: Taps) -> None:
    """Wrap executor, scheduler and engine core of this process; what is wrapped already is left alone."""
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.engine.core import EngineCore
    from vllm.v1.executor.abstract import Executor

    wrap(Executor, "__init__", functools.partial(executor_init, taps))
    wrap(Scheduler, "__init__", functools.partial(scheduler_init, taps))
    wrap(Scheduler, "schedule", schedule)
    wrap(Scheduler, "update_from_output", update_from_output)
    wrap(EngineCore, "execute_dummy_batch", execute_dummy_batch)
    wrap(EngineCore, "sleep", unload_after)
    wrap(EngineCore, "wake_up", functools.partial(load_during, "wake_up"))
    wrap(EngineCore, "add_lora", adapter_added)
    wrap(EngineCore, "remove_lora", adapter_removed)


def wrap(cls: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace a method by `around(original, self, ...)`, once."""
    original = getattr(cls, name)
    if getattr(original, "wattledger", False):
        return

    @functools.wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(original, self, *args, **kwargs)

    wrapped.wattledger = True  # type: ignore[attr-defined]
    setattr(cls, name, wrapped)


def guarded(call: Callable[..., Any], *args: Any) -> Any:
    """Call ours from the engine's thread; None and a log line where it fails."""
    try:
        return call(*args)
    except Exception as error:
        log.exception("wattledger: the energy hook is off: %s", error)  # noqa: TRY401
        return None


def executor_init(taps: Taps, original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around Executor.__init__, inside which the model is loaded."""
    config = args[0] if args else kwargs.get("vllm_config")
    guarded(taps.begin_load, config)
    return original(self, *args, **kwargs)


def scheduler_init(taps: Taps, original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around Scheduler.__init__, which comes after loading, profiling and graph capture."""
    result = original(self, *args, **kwargs)
    setattr(self, TAP, guarded(taps.end_load, self.vllm_config))
    return result


def schedule(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around Scheduler.schedule."""
    tap: VllmTap | None = getattr(self, TAP, None)
    opened = tap.opening() if tap is not None else None
    if tap is None or opened is None:
        return original(self, *args, **kwargs)
    try:
        output = original(self, *args, **kwargs)
    except BaseException:
        tap.failed(opened)
        raise
    tap.scheduled(opened, output, self.requests)
    return output


def update_from_output(
    original: Callable[..., Any], self: Any, scheduler_output: Any, model_runner_output: Any
) -> Any:
    """Around Scheduler.update_from_output: the pass ended when its output is here."""
    tap: VllmTap | None = getattr(self, TAP, None)
    if tap is None:
        return original(self, scheduler_output, model_runner_output)
    end_ns = tap.recorder.clock.now()
    delivered = original(self, scheduler_output, model_runner_output)
    tap.updated(scheduler_output, end_ns, model_runner_output, delivered, continues=bool(self.running))
    return delivered


def execute_dummy_batch(original: Callable[..., Any], self: Any) -> Any:
    """Around EngineCore.execute_dummy_batch, of which the scheduler never hears."""
    tap: VllmTap | None = getattr(self.scheduler, TAP, None)
    opened = tap.opening() if tap is not None else None
    try:
        return original(self)
    finally:
        if tap is not None and opened is not None:
            tap.dummy(opened)


def unload_after(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around EngineCore.sleep: the model gives its memory back."""
    tap: VllmTap | None = getattr(self.scheduler, TAP, None)
    try:
        return original(self, *args, **kwargs)
    finally:
        if tap is not None:
            guarded(tap.recorder.loads.unloaded, self.vllm_config.model_config.model)


def load_during(kind: str, original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around a method of EngineCore that loads: a wake-up, or an adapter named by its LoRARequest."""
    tap: VllmTap | None = getattr(self.scheduler, TAP, None)
    if tap is None:
        return original(self, *args, **kwargs)
    what = self.vllm_config.model_config.model
    if kind == "adapter_load" and args:
        what = getattr(args[0], "lora_name", what)
    load_id = guarded(tap.recorder.loads.started, kind, what)
    try:
        return original(self, *args, **kwargs)
    finally:
        if load_id is not None:
            guarded(tap.recorder.loads.ended, load_id)


def adapter_added(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around EngineCore.add_lora: a load, which may drive out adapters used least lately."""
    added = load_during("adapter_load", original, self, *args, **kwargs)
    tap: VllmTap | None = getattr(self.scheduler, TAP, None)
    if tap is not None and added and args:
        tap.adapters[args[0].lora_int_id] = args[0].lora_name
        guarded(tell_unloaded, tap, self.model_executor)
    return added


def adapter_removed(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Around EngineCore.remove_lora."""
    removed = original(self, *args, **kwargs)
    tap: VllmTap | None = getattr(self.scheduler, TAP, None)
    if tap is not None and removed:
        guarded(tell_unloaded, tap, self.model_executor)
    return removed


def tell_unloaded(tap: VllmTap, executor: Any) -> None:
    """Tell of adapters that were loaded and that the workers hold no more: removed, or driven out by others."""
    for gone in sorted(tap.adapters.keys() - executor.list_loras()):
        tap.recorder.loads.unloaded(tap.adapters.pop(gone))
