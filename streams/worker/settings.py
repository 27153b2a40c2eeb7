"""Settings of a worker; each says what it costs to move it."""

from dataclasses import dataclass, field
from pathlib import Path

from streams.model_epochs import EpochRules
from streams.split import SplitRules
from streams.windows import WindowRules

__all__ = ["WorkerSettings"]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told; built by the command line from environment and TOML."""

    kafka: str
    """Kafka's address, as schemas.kafka_address reads it."""
    clickhouse: str
    """DSN: `https://user:password@host:8443/database` or `chdb:///absolute/path`."""
    group: str = "wattledger"
    """Consumer group: workers of one group share the partitions."""
    instance_id: str = ""
    """Static membership (the pod's name): a restart within the session time-out moves no partition."""
    session_timeout_s: float = 12.0
    """A dead worker's partitions move after this; Faust's own default of 60 s means a minute without books."""
    heartbeat_s: float = 3.0
    commit_interval_s: float = 1.0
    """What a crash re-reads, and nothing else: the manifest skips what is sealed."""
    flush_interval_s: float = 0.25
    """Latency of a closed window against the number of inserts per second."""
    flush_windows: int = 500
    """Windows per flush: their frames stay in memory until all of them are stored."""
    most_held_bytes: int = 128 * 1024 * 1024
    """Frames held, as on the wire (in memory ten times as much): above this nothing is read while a flush waits
    for the database. A thousand engines hold 45 MB in ordinary traffic."""
    most_lead_s: float = 60.0
    """How far one of the co-partitioned topics may run ahead of the others when catching up."""
    dead_letter_ratio: float = 0.1
    """More bad messages than this among the last thousand stop the worker: a topic is not to be drained."""
    dead_letters_in_a_row: int = 500
    """So many without a good message between stop the worker at once: one group's fault is not that long."""
    transfers_interval_s: float = 10.0
    """How long a served request waits for its part of a model load; each look costs a query over a day."""
    repair_interval_s: float = 60.0
    """How long a late frame waits for the revision that it makes; each look costs two queries."""
    residency_interval_s: float = 3600.0
    """How often closed hours' idle energy is shared, where the policy says so."""
    reconcile_interval_s: float = 900.0
    """How often the last hours' counters are held against the books; a late frame may change an hour."""
    own_watts_per_core: float = 3.5
    """What one busy core of this worker is said to draw: the average of Cloud Carbon Footprint's coefficients for
    servers, as the agent's model of a host has it."""
    node_registry: Path | None = None
    """Registry of nodes' keys: every message must be signed by one that may send it; None believes them all."""
    traces: bool = False
    """OpenTelemetry spans of flushes, to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names."""
    metrics_port: int = 0
    """Prometheus endpoint; 0 for none."""
    windows: WindowRules = field(default_factory=WindowRules)
    split: SplitRules = field(default_factory=SplitRules)
    epochs: EpochRules = field(default_factory=EpochRules)
