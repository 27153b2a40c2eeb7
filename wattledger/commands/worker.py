"""`wattledger worker`: book what arrives on the topics, until told to stop."""

import logging
from pathlib import Path

import click

from streams.model_epochs import EpochRules
from streams.split import METHODS, SplitRules
from streams.windows import WindowRules
from streams.worker.run import run_worker
from streams.worker.settings import WorkerSettings
from wattledger import settings as settings_module
from wattledger.logs import begin_logging

__all__ = ["command"]


@click.command("worker")
@click.option(
    "--group", default="wattledger", show_default=True, help="Consumer group; its workers share partitions."
)
@click.option(
    "--instance-id", default="", help="Static membership, such as the pod's name: a restart moves nothing."
)
@click.option(
    "--window",
    "window_s",
    type=click.FloatRange(1.0, 3600.0),
    default=5.0,
    show_default=True,
    help="Seconds of event time in a batch. Longer: fewer rows, later answers, smaller meter error.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.0, 3600.0),
    default=0.5,
    show_default=True,
    help="Seconds of event time a window stays open for a missing frame: it may have been overtaken.",
)
@click.option(
    "--silent-after",
    "silent_s",
    type=click.FloatRange(1.0, 86400.0),
    default=10.0,
    show_default=True,
    help="Seconds of event time after which a silent engine no longer holds its window open.",
)
@click.option(
    "--silent-meter-after",
    "silent_meter_s",
    type=click.FloatRange(1.0, 86400.0),
    default=60.0,
    show_default=True,
    help="The same for the meters of a node: longer than an agent takes to restart.",
)
@click.option(
    "--park-after",
    "park_s",
    type=click.FloatRange(60.0, 604800.0),
    default=600.0,
    show_default=True,
    help="Seconds until a group that ended or was cut off no longer holds its partition's offsets.",
)
@click.option(
    "--repair-every",
    "repair_s",
    type=click.FloatRange(1.0, 86400.0),
    default=60.0,
    show_default=True,
    help="Seconds between looks for late frames; docs/operations/windows.md.",
)
@click.option(
    "--dead-letter-ratio",
    type=click.FloatRange(0.0, 1.0),
    default=0.1,
    show_default=True,
    help="Stop when more than this part of the last thousand messages was refused.",
)
@click.option(
    "--dead-letters-in-a-row",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Stop when so many messages are refused without a good one between.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    show_default=True,
    help="auto: exact closed form or series. truncated: the published permutation sampling.",
)
@click.option(
    "--permutations",
    type=click.IntRange(1),
    default=None,
    help="K for sampling; left out, K adapts to the variance of the marginals.",
)
@click.option(
    "--model-epoch",
    "epoch_s",
    type=click.FloatRange(10.0, 86400.0),
    default=600.0,
    show_default=True,
    help="Seconds of event time after which energy models are fitted anew; a fit takes effect one later.",
)
@click.option(
    "--own-watts",
    "own_watts_per_core",
    type=click.FloatRange(0.0, 1000.0),
    default=3.5,
    show_default=True,
    help="Watts per busy core of this worker, for its own line beside the books; docs/own-energy.md.",
)
@click.option(
    "--traces",
    is_flag=True,
    envvar="WATTLEDGER_TRACES",
    help="OpenTelemetry spans of flushes, to OTEL_EXPORTER_OTLP_ENDPOINT; needs the extra otel.",
)
@click.option(
    "--require-signatures",
    "node_registry",
    envvar="WATTLEDGER_NODE_REGISTRY",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Registry of nodes' keys: what none of them signed goes to the dead letters; docs/security.md.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Prometheus endpoint; 0 for none.",
)
@click.option(
    "--session-timeout",
    "session_timeout_s",
    type=click.FloatRange(6.0, 300.0),
    default=12.0,
    show_default=True,
    help="Seconds until a dead worker's partitions move.",
)
def command(
    group: str,
    instance_id: str,
    window_s: float,
    wait_s: float,
    silent_s: float,
    silent_meter_s: float,
    park_s: float,
    repair_s: float,
    dead_letter_ratio: float,
    dead_letters_in_a_row: int,
    method: str,
    permutations: int | None,
    epoch_s: float,
    own_watts_per_core: float,
    traces: bool,
    node_registry: Path | None,
    metrics_port: int,
    session_timeout_s: float,
) -> None:
    """Book every joule that arrives on the topics, until told to stop.

    Rows are durable before their messages are acknowledged: kill it at any moment, start it again, and the
    books still close. Kafka comes from WATTLEDGER_KAFKA, the database from WATTLEDGER_CLICKHOUSE.

    \b
    Example:
      WATTLEDGER_KAFKA=broker:9092 WATTLEDGER_CLICKHOUSE=https://user:secret@db:8443/wattledger \\
        wattledger worker --group prod --metrics-port 9108
    """
    settings = settings_module.load()
    begin_logging(settings.log_format, logging.WARNING)
    run_worker(
        WorkerSettings(
            kafka=settings.require_kafka(),
            clickhouse=settings.clickhouse,
            group=group,
            instance_id=instance_id,
            own_watts_per_core=own_watts_per_core,
            traces=traces,
            node_registry=node_registry,
            metrics_port=metrics_port,
            repair_interval_s=repair_s,
            dead_letter_ratio=dead_letter_ratio,
            dead_letters_in_a_row=dead_letters_in_a_row,
            session_timeout_s=session_timeout_s,
            heartbeat_s=session_timeout_s / 4,
            windows=WindowRules(
                *(round(s * 1e9) for s in (window_s, wait_s, silent_s, silent_meter_s, park_s))
            ),
            split=SplitRules(method, permutations),
            epochs=EpochRules.every(round(epoch_s * 1e9)),
        )
    )
