"""What the agent is told: where it is, whom it lets in, how much it may keep."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from producers.meters.host import HostPower

__all__ = ["AgentSettings"]


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of one agent; `wattledger agent --help` names the option and the variable of each."""

    kafka: str
    cluster: str = "default"
    node: str = ""
    zone: str = ""
    """Grid zone, for engine descriptors."""
    site: str = ""
    socket: Path = Path("/run/wattledger/agent.sock")
    socket_mode: int = 0o660
    socket_gid: int = -1
    """Group that owns the socket; -1 leaves it to the process's own."""
    uids: frozenset[int] = field(default_factory=lambda: frozenset({0, os.getuid()}))
    """Users whose engines are let in, by the kernel's word (SO_PEERCRED); empty for every user."""
    spool: Path = Path("/var/lib/wattledger/spool.db")
    spool_bytes: int = 2 << 30
    """Beyond it the oldest iteration frames are folded into sums. 2 GiB hold a day of eight busy engines."""
    frame_s: float = 0.5
    host: str = "auto"
    """`rapl`, `parametric`, `off`, or `auto`: RAPL where readable, else parametric."""
    host_power: HostPower = field(default_factory=HostPower)
    metrics_port: int = 9477
    """Prometheus metrics; 0 for none."""
    claim_grace_s: float = 30.0
    """How long an engine that hung up keeps its GPUs, unless its process is seen to be gone."""
