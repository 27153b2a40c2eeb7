"""What a hook takes from its environment; everything has a default that suits one engine on one node."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.errors import ConfigurationError

__all__ = ["SOURCES", "HookSettings"]

SOURCES: Final = ("middleware", "xargs", "lora", "cache_salt")
"""Where a request's tenant may come from; see producers.hooks.tenants."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Settings of the hook; each field names its environment variable."""

    socket: str = "/run/wattledger/agent.sock"
    """WATTLEDGER_SOCKET: the node agent's socket."""
    cluster: str = "default"
    """WATTLEDGER_CLUSTER: used until the agent says which; the agent's own setting wins."""
    node: str = ""
    """WATTLEDGER_NODE: likewise; the host's name by default."""
    engine: str = ""
    """WATTLEDGER_ENGINE: this engine's name on its node; by default its model and first GPU."""
    gpu_uuids: tuple[str, ...] = ()
    """WATTLEDGER_GPU_UUIDS: comma-separated; for engines that cannot tell which GPUs they hold."""
    frame_s: float = 0.5
    """WATTLEDGER_FRAME_S: a frame's length; shorter costs messages, longer delays every window."""
    buffer_bytes: int = 64 << 20
    """WATTLEDGER_HOOK_BUFFER_BYTES: frames kept while the agent is away; 64 MiB is hours of one engine."""
    max_passes: int = 8192
    """WATTLEDGER_HOOK_MAX_PASSES: iterations that may wait for our thread; 40 s at 200 a second."""
    tenant_sources: tuple[str, ...] = ("middleware",)
    """WATTLEDGER_TENANT_FROM: comma-separated, the first that names a tenant wins. All but `middleware` trust
    the client, and belong behind a gateway that sets them."""
    tenant_key: str = ""
    """WATTLEDGER_TENANT_KEY: shared by middleware and hook, proves that the tenant is the middleware's; made
    up at start where both run on one machine."""
    salt_key: str = ""
    """WATTLEDGER_SALT_KEY: keys the hash of `cache_salt`, needed if that names tenants."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "HookSettings":
        """Read the environment; ConfigurationError names the variable, the value and the fix."""
        default = cls()
        settings = cls(
            socket=env.get("WATTLEDGER_SOCKET", default.socket),
            cluster=env.get("WATTLEDGER_CLUSTER", default.cluster),
            node=env.get("WATTLEDGER_NODE", default.node),
            engine=env.get("WATTLEDGER_ENGINE", default.engine),
            gpu_uuids=tuple(filter(None, env.get("WATTLEDGER_GPU_UUIDS", "").split(","))),
            frame_s=number(env, "WATTLEDGER_FRAME_S", default.frame_s, low=0.05, high=5.0),
            buffer_bytes=int(
                number(env, "WATTLEDGER_HOOK_BUFFER_BYTES", default.buffer_bytes, low=1 << 20, high=1 << 34)
            ),
            max_passes=int(
                number(env, "WATTLEDGER_HOOK_MAX_PASSES", default.max_passes, low=16, high=1 << 20)
            ),
            tenant_sources=sources(env.get("WATTLEDGER_TENANT_FROM", "middleware")),
            tenant_key=env.get("WATTLEDGER_TENANT_KEY", ""),
            salt_key=env.get("WATTLEDGER_SALT_KEY", ""),
        )
        if "cache_salt" in settings.tenant_sources and not settings.salt_key:
            raise ConfigurationError(
                "WATTLEDGER_TENANT_FROM names cache_salt, which is a secret of the client's: set "
                "WATTLEDGER_SALT_KEY, so that only its keyed hash leaves the engine"
            )
        return settings

    def engine_id(self, name: str) -> str:
        """cluster/node/name, as far as the engine's process knows them."""
        node = self.node or socket.gethostname()
        return "/".join(part.replace("/", "_") for part in (self.cluster, node, self.engine or name))


def sources(text: str) -> tuple[str, ...]:
    """The tenant sources named in a comma-separated list."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in SOURCES:
            raise ConfigurationError(
                f"WATTLEDGER_TENANT_FROM: {name!r} is no source of tenants; use {', '.join(SOURCES)}"
            )
    return names


def number(env: Mapping[str, str], name: str, default: float, *, low: float, high: float) -> float:
    """A number from the environment, within its bounds."""
    text = env.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ConfigurationError(f"{name}={text!r}: not a number; {low:g} to {high:g}") from None
    if not low <= value <= high:
        raise ConfigurationError(f"{name}={text}: out of range; {low:g} to {high:g}")
    return value
