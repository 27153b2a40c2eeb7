"""Makes a receipt's energy again from its lineage, and says where the two differ.

A share is request_scale · Σ coefficient · term, the closed form of the Shapley value; largest remainder then made
it a whole number of microjoules, so the two lie within 1 µJ. Where a share was sampled, its permutations ran over
other tenants' requests: only the operator, or an auditor with the sealed frames, can run them again.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import DataError
from streams.answers.report_files import canonical
from streams.metering import value_at

__all__ = ["Check", "recompute"]

TOLERANCE_UJ: Final = 1.0
CLOSED_FORM: Final = ("shapley_exact", "shapley_series")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was computed again."""

    what: str
    stated: float
    computed: float | None
    """None where the lineage does not suffice."""
    holds: bool
    why: str = ""


def recompute(receipt: dict[str, Any], lineage: dict[str, Any]) -> list[Check]:
    """Every share, meter and sum of a receipt, computed again from its lineage.

    Raises DataError if the lineage is not the one that the receipt was signed with, or is not whole.
    """
    if hashlib.sha256(canonical(lineage)).hexdigest() != receipt.get("lineage_sha256"):
        raise DataError("the lineage does not have the hash that the receipt was signed with: it was changed")
    try:
        checks = [check for batch in lineage["batches"] for check in _batch(batch)]
        checks += [_cold_start(one) for one in lineage["cold_start"]]
        shares_uj = sum(batch["share_uj"] for batch in lineage["batches"])
        moved_uj = sum(one["share_uj"] for one in lineage["cold_start"])
        checks.append(_equal("energy of all batches", receipt["energy_uj"], shares_uj))
        checks.append(_equal("cold start of all loads", receipt["cold_start_uj"], moved_uj))
    except (KeyError, TypeError) as error:
        raise DataError(f"the lineage is not whole: {error!r}") from None
    return checks


def _batch(batch: dict[str, Any]) -> list[Check]:
    name = f"share of batch {batch['batch_id']}"
    methods = set(batch["attribution_method"].split("+"))
    if not methods <= set(CLOSED_FORM):
        why = f"{batch['attribution_method']} drew permutations over other requests: ask the operator"
        checks = [Check(name, batch["share_uj"], None, holds=True, why=why)]
    else:
        terms = batch["terms"]
        modelled_j = sum(
            coefficient * terms.get(term, 0.0) for term, coefficient in batch["coefficients"].items()
        )
        computed_uj = batch["request_scale"] * modelled_j
        off_uj = abs(computed_uj - batch["share_uj"])
        checks = [Check(name, batch["share_uj"], computed_uj, holds=off_uj <= TOLERANCE_UJ)]
    if batch["meter"]:
        metered_uj = sum(_metered(one) for one in batch["meter"])
        checks.append(_equal(f"meter of batch {batch['batch_id']}", batch["metered_uj"], metered_uj))
    return checks


def _metered(reading: dict[str, Any]) -> int:
    left, right = (
        value_at(
            *(reading[f"{edge}_{name}"] for name in ("ns", "before_ns", "before_uj", "after_ns", "after_uj"))
        )
        for edge in ("from", "to")
    )
    return right - left


def _cold_start(one: dict[str, Any]) -> Check:
    computed_uj = one["k"] * one["load_uj"] // one["n"] - (one["k"] - 1) * one["load_uj"] // one["n"]
    return _equal(f"part of load {one['load_id']}", one["share_uj"], computed_uj)


def _equal(what: str, stated: int, computed: int) -> Check:
    return Check(what, stated, computed, holds=stated == computed)
