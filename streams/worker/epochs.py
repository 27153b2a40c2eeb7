"""Sees to it that every window's energy model is decided before the window is booked, and that all hear of it."""

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from confluent_kafka import Producer

from schemas.errors import BrokerUnavailable
from schemas.kafka_address import servers_of
from schemas.side_input_codec import encode_model
from schemas.side_inputs import EngineDescriptor
from schemas.topics import MODELS
from streams.ledger.fits import read_fit_windows
from streams.model_epochs import Decision, EpochRules, FitWindows, decide, undecided
from streams.side_inputs import SideInputs
from streams.windows import ClosedWindow
from streams.worker.kafka import producer_settings
from streams.worker.metrics import WorkerMetrics
from streams.worker.side_reader import SideReader

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["ModelEpochs"]

log = logging.getLogger(__name__)

_FLUSH_S: Final = 30.0


class ModelEpochs:
    """Fits, publishes and reads back the models that windows need; on the ledger's thread only."""

    def __init__(
        self,
        client: "Client",
        bootstrap: str,
        side: SideInputs,
        reader: SideReader,
        rules: EpochRules,
        metrics: WorkerMetrics,
    ) -> None:
        self._client = client
        self._bootstrap = servers_of(bootstrap)
        self._side = side
        self._reader = reader
        self._rules = rules
        self._metrics = metrics
        self._producer = Producer(producer_settings(bootstrap))

    def in_order(self, windows: Sequence[ClosedWindow]) -> Iterator[list[ClosedWindow]]:
        """The windows, slot by slot; within one in the order given."""
        ordered = sorted(windows, key=self._slot)
        for _, together in groupby(ordered, key=self._slot):
            yield list(together)

    def _slot(self, closed: ClosedWindow) -> int:
        return self._rules.slot(closed.start_ns)

    def ensure(self, windows: Sequence[ClosedWindow]) -> None:
        """Decide what is undecided and wait until it is published and read back: the first word counts.

        Raises BrokerUnavailable or DatabaseUnavailable; calling again is safe.
        """
        decided = [
            decide(descriptor, slot, self._side, self._read, self._rules)
            for descriptor, slot in undecided(self._engines(windows), self._side, self._rules)
        ]
        if not decided:
            return
        for decision in decided:
            self._announce(decision)
            version = decision.version
            self._producer.produce(MODELS, key=version.engine_class, value=encode_model(version))
        if self._producer.flush(_FLUSH_S):
            raise BrokerUnavailable(
                f"{len(decided)} energy models could not be published to {MODELS} on {self._bootstrap} "
                f"within {_FLUSH_S:.0f} s: check the broker and that the topic exists"
            )
        self._reader.refresh()

    def _announce(self, decision: Decision) -> None:
        """Say what is new: a change as a warning and in the metric, another model as information."""
        version, change = decision.version, decision.change
        in_force = self._side.model(version.engine_class, version.effective_from_ns)
        if change is not None:
            self._metrics.regime_changes.labels(version.engine_class).inc()
            log.warning(
                "%s has changed since %d ns: %s; model %s from %d on",
                version.engine_class,
                change.since_ns,
                change.describe(),
                version.version,
                version.effective_from_ns,
            )
        elif in_force is None or in_force.version != version.version:
            log.info(
                "model of %s from %d: %s (%s)",
                version.engine_class,
                version.effective_from_ns,
                version.version,
                version.origin,
            )

    def _engines(self, windows: Sequence[ClosedWindow]) -> set[tuple[EngineDescriptor, int]]:
        """The engines that ran, each with the instant it is booked at."""
        ran = {(held.frame.engine_id, closed.start_ns) for closed in windows for held in closed.iterations}
        found = ((self._side.engine(engine, at_ns), at_ns) for engine, at_ns in ran)
        return {(descriptor, at_ns) for descriptor, at_ns in found if descriptor is not None}

    def _read(self, engine_class: str, from_ns: int, to_ns: int) -> FitWindows:
        return read_fit_windows(self._client, engine_class, from_ns, to_ns)
