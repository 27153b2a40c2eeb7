"""Loads every compiled pass before the first message, by booking one batch of nothing much.

Numba's loading takes a second, and on a new machine its compilation some twenty; a first flush that waited for it
would be late, and the group's heartbeats with it.
"""

import numpy as np

from schemas.energy import EnergyFrame, Meter
from schemas.frames import decode_energy, decode_packed, encode_energy, encode_iterations, prepare
from schemas.iterations import IterationFrame
from schemas.side_inputs import EngineDescriptor, ModelVersion
from streams.booking import book
from streams.groups import Group, Held, forget_sealed
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import close_window

__all__ = ["prepare_booking"]

_SECOND_NS = 1_000_000_000


def prepare_booking() -> None:
    """Do now what the first frames and the first flush would wait for; a second time it costs a millisecond."""
    prepare()
    side = SideInputs()
    side.add_engine(_ENGINE)
    side.add_model(_MODEL)
    group = Group("none/none/none", 0)
    # Through the codecs: passes are compiled for the arrays that decoding makes.
    group.hold_iterations(Held(decode_packed(encode_iterations(_ITERATIONS)), 0, _SECOND_NS))
    group.hold_energy(Held(decode_energy(encode_energy(_ENERGY)), 0, _SECOND_NS))
    batches = [book(close_window(group, 0, _SECOND_NS), side, SplitRules())]
    forget_sealed(group, _SECOND_NS, _SECOND_NS)
    for table in (ledger_table, meter_table, batch_table):
        table(batches)


_ENGINE = EngineDescriptor(
    "none/none/none", "none/none/none", "none/none", 0, "none", "none", "none", ("none",)
)
_MODEL = ModelVersion(
    _ENGINE.engine_class, "none", 0, "prior", {"fixed_j": 1.0, "excess_token_j": 1.0, "knee_tokens": 2.5}
)
"""Its knee lies between a chunk of two tokens and the same beside a decode: equals must be counted."""

_SMALL = np.array([1], np.int32)
_PAIR = np.zeros(2, np.int32)
_ITERATIONS = IterationFrame(
    group_id="none/none/none", engine_id="none/none/none", incarnation="none", incarnation_start_ns=0, sequence=0,
    start_ns=0, end_ns=_SECOND_NS, watermark_ns=_SECOND_NS, tenants=("none",), loads=(), adapters=(),
    iteration_start_ns=np.array([0, _SECOND_NS // 2]), iteration_end_ns=np.array([_SECOND_NS // 2, _SECOND_NS]),
    iteration_kind=np.zeros(2, np.uint8), iteration_padded_tokens=np.zeros(2, np.int32),
    request_ordinal=np.array([1, 2]), request_client_id=("none", "none"), request_tenant=_PAIR,
    request_load=_PAIR - 1, request_load_ordinal=np.zeros(2, np.int64), request_adapter=_PAIR - 1,
    request_prefix_group=np.zeros(2, np.uint64), request_prompt_tokens=_PAIR + 1, request_cached_tokens=_PAIR + 1,
    span_request=np.array([0, 1], np.int32), span_first_iteration=_PAIR, span_length=_PAIR + 2,
    span_entry_context=_PAIR,
    exception_row=_SMALL + 1, exception_new_tokens=_SMALL + 1, exception_drafts=_SMALL - 1,
    exception_rejected=_SMALL - 1, exception_emitted=_SMALL,
)  # fmt: skip
# So many microjoules that some are left over when each share is rounded down.
_ENERGY = EnergyFrame(
    group_id="none/none/none", node_id="none/none", incarnation="none", sequence=0,
    start_ns=0, end_ns=_SECOND_NS, watermark_ns=_SECOND_NS, engines=("none/none/none",), loads=(),
    meters=(Meter("none", "gpu", "", "gpu", "counter"),), reading_meter=np.zeros(2, np.int32),
    reading_time_ns=np.array([0, _SECOND_NS]), reading_uj=np.array([0, 1_000_003]),
)  # fmt: skip
