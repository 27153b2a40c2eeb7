"""The agent's Prometheus metrics: one catalogue, which docs/agent.md shows."""

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["Metrics"]


class Metrics:
    """Every metric of the agent; names are prefixed `wattledger_agent_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"wattledger_agent_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"wattledger_agent_{name}", text, labels, registry=registry)

        self.engines = gauge("engines", "engines that are connected")
        self.meter_up = gauge("meter_up", "1 while the meter can be read", "meter")
        self.claims = gauge(
            "gpu_claims",
            "GPUs that engines say they hold, by what NVML's process list says: confirmed, contradicted, unknown",
            "state",
        )
        self.frames = counter("frames_total", "frames spooled", "stream")
        self.repeated = counter("frames_repeated_total", "frames a hook sent again after a reconnection")
        self.missing = counter(
            "frames_missing_total", "frames a hook never sent: holes in its sequence", "engine"
        )
        self.rejected = gauge("rejected_connections", "connections turned away or cut off since the start")
        self.spool_bytes = gauge("spool_bytes", "bytes waiting for Kafka")
        self.spool_messages = gauge("spool_messages", "messages waiting for Kafka")
        self.spool_age = gauge("spool_oldest_seconds", "age of the oldest message that waits")
        self.lost = counter(
            "spool_lost_frames_total", "frames given up because the spool was full", "stream", "worth"
        )
        self.published = gauge("published_messages", "messages that Kafka has acknowledged since the start")
        self.hooks_off = counter("hooks_off_total", "engines whose hook switched itself off", "engine")
