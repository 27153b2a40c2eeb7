"""The metrics of `wattledger api` and of the grid poller, and those that every role raises."""

from typing import Final

from schemas.metrics.contract import Kind, Metric, Role

__all__ = ["API", "EVERY", "POLLER"]

ANSWER_EDGES_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

API: Final = (
    Metric(
        "wattledger_api_requests_total",
        Kind.COUNTER,
        "requests",
        Role.API,
        "answered, by route as declared and status",
        ("route", "status"),
    ),
    Metric(
        "wattledger_api_answer_seconds",
        Kind.HISTOGRAM,
        "seconds",
        Role.API,
        "from a request to its answer",
        ("route",),
        ANSWER_EDGES_S,
    ),
)

POLLER: Final = (
    Metric(
        "wattledger_poller_intensities_total",
        Kind.COUNTER,
        "intensities",
        Role.POLLER,
        "published to wattledger.grid.v1",
        ("source",),
    ),
    Metric(
        "wattledger_poller_failed_zones",
        Kind.GAUGE,
        "zones",
        Role.POLLER,
        "brought nothing in the last round; their rows take the next best intensity meanwhile",
        ("source",),
    ),
    Metric(
        "wattledger_poller_last_round_seconds",
        Kind.GAUGE,
        "seconds",
        Role.POLLER,
        "when the last round ended (Unix)",
        ("source",),
    ),
)

EVERY: Final = tuple(
    Metric(name, kind, unit, Role.EVERY, meaning)
    for name, kind, unit, meaning in (
        ("process_cpu_seconds_total", Kind.COUNTER, "seconds", "CPU time of the process, user and system"),
        ("process_resident_memory_bytes", Kind.GAUGE, "bytes", "memory of the process in RAM"),
        ("process_virtual_memory_bytes", Kind.GAUGE, "bytes", "address space of the process"),
        ("process_start_time_seconds", Kind.GAUGE, "seconds", "when the process began (Unix)"),
        ("process_open_fds", Kind.GAUGE, "files", "open file descriptors"),
        ("process_max_fds", Kind.GAUGE, "files", "limit of open file descriptors"),
    )
)
"""By the Prometheus client's own collector, under the names that dashboards know."""
