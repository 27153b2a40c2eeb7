"""The shape of the paper's Figure 1: time per operator class against tokens, energy per iteration against batch.

Time is measured per operator (Vidur, Llama-3-8B on one A100). Energy is measured per iteration only (ML.ENERGY,
in the engine types): no public table of energy per operator was found, so none is shown.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from producers.simulation.engine_types import EngineType
from producers.simulation.tables import read_rows, real

__all__ = ["EnergyCurve", "OperatorTimes", "energy_curve", "operator_times"]

Floats = NDArray[np.float64]

_LAYERS: Final = 32
_CLASSES: Final = {
    "feed-forward": ("mlp_up_proj_ms", "mlp_act_ms", "mlp_down_proj_ms"),
    "attention projections": ("attn_pre_proj_ms", "attn_rope_ms", "attn_post_proj_ms"),
    "norms and residuals": ("input_layernorm_ms", "post_attention_layernorm_ms", "add_ms"),
}


@dataclass(frozen=True, slots=True, eq=False)
class OperatorTimes:
    """Milliseconds of all layers per operator class, (T,) each, against (T,) tokens in the iteration."""

    tokens: Floats
    classes_ms: dict[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class EnergyCurve:
    """Joules of an iteration against (B,) batch sizes, as measured, and joules per token."""

    engine: str
    batch: Floats
    iteration_j: Floats
    token_j: Floats


def operator_times() -> OperatorTimes:
    """The measured table that ships with wattledger."""
    path = Path(str(files(__package__) / "data" / "operator_latency.csv"))
    columns = ("num_tokens", "emb_ms", *(name for names in _CLASSES.values() for name in names))
    table = np.array([[real(path, line, row, c) for c in columns] for line, row in read_rows(path, columns)])
    found = {"embedding": table[:, 1]}
    for name, members in _CLASSES.items():
        found[name] = _LAYERS * table[:, [columns.index(member) for member in members]].sum(axis=1)
    return OperatorTimes(tokens=table[:, 0], classes_ms=found)


def energy_curve(engine: EngineType) -> EnergyCurve:
    """What the engine type was measured at."""
    return EnergyCurve(engine.name, engine.batches, engine.energy_j, engine.energy_j / engine.batches)
