"""Of two engine classes one changes: its model follows within five minutes, is announced, and the other's stays."""

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from schemas.energy import EnergyFrame
from schemas.frames import encode_energy, encode_iterations
from schemas.iterations import IterationFrame
from schemas.side_input_codec import encode_engine
from schemas.side_inputs import EngineDescriptor
from schemas.topics import ENERGY, ENGINES, ITERATIONS
from streams.booking import book
from streams.ledger.query import rows_of
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import ClickHouseSink
from streams.model_epochs import EpochRules
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules
from streams.worker.epochs import ModelEpochs
from streams.worker.metrics import WorkerMetrics
from streams.worker.side_reader import SideReader
from tests.builders import SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.streams import Record, send
from wattledger.local.broker import Broker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.kafka

RULES = EpochRules(epoch_ns=240 * SECOND, slot_ns=60 * SECOND)
BEGINS_S = 400
"""T0 and this much is a whole number of epochs."""
CHANGES_S = BEGINS_S + 560
"""Eighty seconds after the first fit took effect."""
ENDS_S = CHANGES_S + 300
WINDOW_S = 5
SECONDS_A_MINUTE = 60
FIXED_J, REQUEST_J, CONTEXT_J = 4.0, 0.08, 4e-5
ITERATIONS_A_WINDOW = 250

Frame = IterationFrame | EnergyFrame


def engine(name: str, cluster: str) -> EngineDescriptor:
    """A class of its own: another model."""
    return descriptor(
        f"{cluster}/node-1/{name}", group_id=f"{cluster}/node-1/{name}", node_id=f"{cluster}/node-1",
        model=f"{name}-{cluster}", gpu_uuids=(f"GPU-{name}",),
    )  # fmt: skip


def frames(of: EngineDescriptor, seed: int, factor: float) -> Iterator[Frame]:
    """One frame of each stream per window; from CHANGES_S on every joule costs `factor` of what it did."""
    draw = np.random.default_rng(seed)
    counter_uj = 10**9
    for sequence, start_s in enumerate(range(BEGINS_S, ENDS_S, WINDOW_S)):
        requests, context = int(draw.integers(2, 40)), int(draw.integers(100, 3000))
        rows = ITERATIONS_A_WINDOW * requests
        context_sum = rows * (context + (ITERATIONS_A_WINDOW - 1) / 2)
        energy_j = FIXED_J * ITERATIONS_A_WINDOW + REQUEST_J * rows + CONTEXT_J * context_sum
        energy_j *= (1 + 0.01 * draw.standard_normal()) * (factor if start_s >= CHANGES_S else 1.0)
        yield decode_frame(
            start_s, start_s + WINDOW_S, requests=requests, iterations=ITERATIONS_A_WINDOW, sequence=sequence,
            engine_id=of.engine_id, group_id=of.group_id, first_ordinal=100 * sequence, context=context,
        )  # fmt: skip
        metered = energy_frame(
            start_s, start_s + WINDOW_S, sequence=sequence, engines=(of.engine_id,), group_id=of.group_id,
            step_s=0.1, meter_id=of.gpu_uuids[0],
        )  # fmt: skip
        steps = len(metered.reading_time_ns) - 1
        rising = counter_uj + np.rint(np.arange(steps + 1) * energy_j * 1e6 / steps).astype(np.int64)
        yield replace(metered, node_id=of.node_id, reading_uj=rising)
        counter_uj = int(rising[-1])


def batched(values: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    rest = iter(values)
    while part := list(itertools.islice(rest, size)):
        yield part


def message(frame: Frame, offset: int) -> Message:
    topic, value = (
        (ENERGY, encode_energy(frame))
        if isinstance(frame, EnergyFrame)
        else (ITERATIONS, encode_iterations(frame))
    )
    return Message(topic, 0, offset, frame.end_ns, frame.group_id.encode(), value)


def test_one_class_changes_and_the_other_does_not(
    kafka: Broker, database: "Client", caplog: pytest.LogCaptureFixture
) -> None:
    create_topics(kafka.bootstrap, partitions=4)
    cluster = f"drift-{np.random.default_rng().integers(10**9)}"
    capped, steady = (engine(name, cluster) for name in ("capped", "steady"))
    send(
        kafka.bootstrap,
        [Record(ENGINES, one.engine_id.encode(), encode_engine(one), T0) for one in (capped, steady)],
    )
    side = SideInputs()
    reader = SideReader(kafka.bootstrap, side, lambda *_: None)
    reader.refresh()
    metrics = WorkerMetrics.create()
    epochs = ModelEpochs(database, kafka.bootstrap, side, reader, RULES, metrics)
    sink = ClickHouseSink(database)
    pipeline = Pipeline(WindowRules(), side, Frontier())
    both = itertools.chain.from_iterable(zip(frames(capped, 1, 0.8), frames(steady, 2, 1.0), strict=True))
    offsets = {topic: itertools.count() for topic in (ENERGY, ITERATIONS)}
    with caplog.at_level(logging.INFO, logger="streams.worker.epochs"):
        for minute in batched(both, 4 * SECONDS_A_MINUTE // WINDOW_S):
            for frame in minute:
                topic = ENERGY if isinstance(frame, EnergyFrame) else ITERATIONS
                pipeline.receive(message(frame, next(offsets[topic])))
            while work := pipeline.take():
                for windows in epochs.in_order(work.windows):  # as the worker's flush does it
                    epochs.ensure(windows)
                    batches = [book(closed, side, SplitRules()) for closed in windows]
                    tables = {"ledger": ledger_table(batches), "raw_meter": meter_table(batches)}
                    sink.write(tables, batch_table(batches))
                pipeline.settle(work)
    reader.close()

    versions = {
        one.engine_class: rows_of(
            database,
            "SELECT model_version, min(start_ns), count() FROM current_batches "
            "WHERE engine_class = {name:String} GROUP BY model_version ORDER BY min(start_ns)",
            {"name": one.engine_class},
        )
        for one in (capped, steady)
    }
    kinds = {name: [row[0].split("-")[0] for row in found] for name, found in versions.items()}
    assert kinds[steady.engine_class] == ["prior", "fit", "fit", "fit"][: len(kinds[steady.engine_class])]
    assert "drift" not in kinds[steady.engine_class]
    drift = [row for row in versions[capped.engine_class] if row[0].startswith("drift-")]
    assert len(drift) == 1, versions
    changed_ns = T0 + CHANGES_S * SECOND
    assert changed_ns < drift[0][1] <= changed_ns + 300 * SECOND
    in_force = side.model(capped.engine_class, drift[0][1])
    assert in_force is not None
    assert in_force.coefficients["fixed_j"] == pytest.approx(0.8 * FIXED_J, rel=0.1)
    assert abs(in_force.windows_from_ns - changed_ns) <= 10 * SECOND

    counted = {
        one.engine_class: metrics.regime_changes.labels(one.engine_class)._value.get()
        for one in (capped, steady)
    }
    assert counted == {capped.engine_class: 1.0, steady.engine_class: 0.0}
    ours = [
        one for one in caplog.records if one.name == "streams.worker.epochs"
    ]  # topics are shared with other tests
    (warning,) = [one.getMessage() for one in ours if one.levelno == logging.WARNING]
    assert capped.engine_class in warning
    assert "measured energy went from" in warning
