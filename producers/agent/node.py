"""What a node has to measure: its GPUs by whichever library answers, and its host by RAPL or by a model."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from producers.agent.settings import AgentSettings
from producers.meters.amd import AmdMeter, open_amd
from producers.meters.contract import Clock, Meter
from producers.meters.epochs import Epoch, boot_id
from producers.meters.host import ParametricHost
from producers.meters.nvml import NvmlMeter, NvmlSession
from producers.meters.rapl import RaplMeter, find_domains
from schemas.errors import MeterError

__all__ = ["Node", "open_node"]

log: Final = logging.getLogger(__name__)

GpuMeter = NvmlMeter | AmdMeter


@dataclass(frozen=True, slots=True)
class Node:
    """The meters of a node, and what its GPU library knows of them."""

    gpus: dict[str, GpuMeter]
    """By UUID of the physical GPU."""
    host: Meter | None
    resolve: Callable[[str], str]
    """The physical GPU behind a UUID (a MIG slice's parent); MeterError where there is none."""
    processes: Callable[[str], frozenset[int] | None]
    """Processes that compute on a GPU; None where the library does not tell."""
    gpu_name: Callable[[str], str]
    """Product name; MeterError where the GPU does not answer."""
    close: Callable[[], None]


def open_node(settings: AgentSettings, clock: Clock, *, life: str, kept: dict[str, Any]) -> Node:
    """Open the node's meters; `kept` has each counter's epoch as an agent before this one saw it last.

    MeterError where no GPU library answers, with what each of them said.
    """
    boot = boot_id()
    epochs = {uuid: Epoch(*fields) for uuid, fields in kept.items()}
    host = open_host(settings, clock, life)
    try:
        session = NvmlSession()
    except MeterError as nvidia:
        try:
            amd = open_amd(clock, boot=boot, kept=epochs)
        except MeterError as error:
            raise MeterError(f"no GPU can be read. {nvidia}. {error}") from nvidia
        found = {meter.meter_id: meter for meter in amd}
        return Node(
            dict(found), host, known(found), lambda _: None, lambda _: "AMD Instinct", close=lambda: None
        )
    gpus: dict[str, GpuMeter] = {
        uuid: NvmlMeter(session, uuid, clock, boot=boot, life=life, last=epochs.get(uuid))
        for uuid in session.uuids()
    }
    return Node(gpus, host, session.parent, session.processes, session.name, session.close)


def known(gpus: dict[str, AmdMeter]) -> Callable[[str], str]:
    """For a library without slices: a UUID is itself, if it is there."""

    def resolve(uuid: str) -> str:
        if uuid not in gpus:
            raise MeterError(f"GPU {uuid}: not on this node; there are {', '.join(gpus) or 'none'}")
        return uuid

    return resolve


def open_host(settings: AgentSettings, clock: Clock, life: str) -> Meter | None:
    """The host's meter as the settings want it; `auto` takes RAPL if it can be read once."""
    if settings.host == "off":
        return None
    meter_id = f"host:{settings.node}"
    if settings.host in ("rapl", "auto"):
        try:
            return readable_rapl(clock, meter_id, life)
        except MeterError as error:
            if settings.host == "rapl":
                raise
            log.info("host energy is modelled and marked parametric: %s", error)
    return ParametricHost(settings.host_power, clock, meter_id=meter_id, life=life)


def readable_rapl(clock: Clock, meter_id: str, life: str) -> RaplMeter:
    """The host by RAPL, read once; MeterError where there is none or it may not be read."""
    domains = find_domains()
    if not domains:
        raise MeterError("no RAPL domain under /sys/class/powercap: a guest, or no intel_rapl module")
    rapl = RaplMeter(domains, clock, meter_id=meter_id, life=life)
    rapl.read()
    return rapl
