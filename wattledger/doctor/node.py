"""Whether this node can be measured: GPUs and their counters, the host's energy, the agent's files and its key."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from producers.agent.node import Node, open_node
from producers.agent.settings import AgentSettings
from schemas.errors import ConfigurationError, MeterError
from schemas.signatures import load_signing_key
from wattledger.doctor.contract import Finding, failed, fine, warned

__all__ = ["file_findings", "key_findings", "meter_findings"]

BETWEEN_READINGS_S: Final = 0.5
"""Five steps of NVML's counter, which steps every 100 ms; power is integrated across at most a second."""


def meter_findings(settings: AgentSettings) -> Iterator[Finding]:
    """Every GPU's counter, read twice; a counter that stands still measures nothing."""
    try:
        node = open_node(settings, time.time_ns, life="doctor", kept={})
    except MeterError as error:
        yield failed(
            "GPUs", str(error), "mend what your GPUs' library says; on a node without GPUs run no agent"
        )
        return
    try:
        yield from _counters(node)
        if node.host is not None:
            reading = node.host.read()
            if reading.meter.source == "parametric":
                yield warned(
                    "host energy",
                    "no RAPL that may be read: modelled, and marked parametric",
                    "grant read on /sys/class/powercap/*/energy_uj, or take the model (docs/agent.md)",
                )
            else:
                yield fine("host energy", "RAPL can be read")
    finally:
        node.close()


def _counters(node: Node) -> Iterator[Finding]:
    if not node.gpus:
        yield failed(
            "GPUs", "the library answers and shows none", "give the agent NVIDIA_VISIBLE_DEVICES=all"
        )
    first: dict[str, int] = {}
    for uuid, meter in node.gpus.items():
        try:
            first[uuid] = meter.read().energy_uj
        except MeterError as error:
            yield failed(f"GPU {uuid}", str(error), "see `nvidia-smi` on the node")
    time.sleep(BETWEEN_READINGS_S)
    for uuid, before_uj in first.items():
        try:
            reading = node.gpus[uuid].read()
        except MeterError as error:
            yield failed(f"GPU {uuid}", str(error), "see `nvidia-smi` on the node")
            continue
        power_w = (reading.energy_uj - before_uj) / 1e6 / BETWEEN_READINGS_S
        if power_w <= 0:
            yield failed(
                f"GPU {uuid}",
                f"its {reading.meter.source} counter stands still",
                "an idle GPU draws 50 W or more: reload the driver, or look for a hung GPU in `dmesg`",
            )
        else:
            yield fine(f"GPU {uuid}", f"{reading.meter.source} counter moves, about {power_w:.0f} W")


def file_findings(settings: AgentSettings) -> Iterator[Finding]:
    """The directories of the spool and the socket."""
    for what, path in (("spool", settings.spool), ("socket", settings.socket)):
        folder = path.parent
        if os.access(folder, os.W_OK | os.X_OK):
            yield fine(what, f"{folder} can be written")
        else:
            state = "may not be written" if folder.exists() else "does not exist"
            yield failed(what, f"{folder} {state}", f"create it for the agent's user: install -d {folder}")


def key_findings(path: Path | None) -> Iterator[Finding]:
    """The key that signs, where there is one."""
    if path is None:
        return
    try:
        load_signing_key(path)
    except ConfigurationError as error:
        yield failed(
            "node key", str(error), "make one with `wattledger nodes key`, or unset WATTLEDGER_NODE_KEY"
        )
        return
    others = path.stat().st_mode & 0o077
    if others:
        yield warned("node key", f"{path} can be read by others", f"chmod 600 {path}")
    else:
        yield fine("node key", f"{path} can be read")
