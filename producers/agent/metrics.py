"""The agent's metrics on one registry, as `schemas.metrics.agent` declares them."""

from prometheus_client import CollectorRegistry

from schemas.metrics.instruments import counter, gauge

__all__ = ["Metrics"]


class Metrics:
    """One agent's instruments; what each means stands in the catalogue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.frames = counter("wattledger_agent_frames_total", registry)
        self.repeated = counter("wattledger_agent_frames_repeated_total", registry)
        self.missing = counter("wattledger_agent_frames_missing_total", registry)
        self.hooks_off = counter("wattledger_agent_hooks_off_total", registry)
        self.joined = counter("wattledger_agent_spool_joined_frames_total", registry)
        self.lost = counter("wattledger_agent_spool_lost_frames_total", registry)
        self.disk_failing = gauge("wattledger_agent_spool_disk_failing", registry)
        self.engines = gauge("wattledger_agent_engines", registry)
        self.meter_up = gauge("wattledger_agent_meter_up", registry)
        self.claims = gauge("wattledger_agent_gpu_claims", registry)
        self.rejected = gauge("wattledger_agent_rejected_connections", registry)
        self.spool_bytes = gauge("wattledger_agent_spool_bytes", registry)
        self.spool_messages = gauge("wattledger_agent_spool_messages", registry)
        self.spool_age = gauge("wattledger_agent_spool_oldest_seconds", registry)
        self.published = gauge("wattledger_agent_published_messages", registry)
