"""Side inputs as JSON: descriptors, energy models, policies, intensities and loads, to bytes and back.

`schemas/topics/*.yaml` holds the JSON Schema of each. Fields that this version does not know are ignored, so
that a newer producer does no harm; whatever it knows is checked, and refused by name and value. Each
`decode_*` raises MalformedMessage and nothing else; each `encode_*` raises it for what its decoder refuses.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, TypeVar

from schemas import documents
from schemas.documents import Document
from schemas.errors import MalformedMessage
from schemas.limits import MAX_TIME_NS
from schemas.side_inputs import EngineDescriptor, GridIntensity, Load, ModelVersion, Policy

__all__ = [
    "FACTOR_LIMITS",
    "MAX_G_PER_KWH",
    "decode_engine",
    "decode_grid",
    "decode_load",
    "decode_model",
    "decode_policy",
    "encode_engine",
    "encode_grid",
    "encode_load",
    "encode_model",
    "encode_policy",
]

LOAD_KINDS: Final = ("model_load", "wake_up", "adapter_load", "unload")
ORIGINS: Final = ("prior", "fit")
BASES: Final = ("location", "market", "marginal")
RESOLUTIONS: Final = ("interval", "annual")
IDLE_POLICIES: Final = ("provider", "residency")
UNMETERED_POLICIES: Final = ("estimate", "leave")

MAX_G_PER_KWH: Final = 2000.0
"""The dirtiest power stations stay below 1,500; above 2,000 the unit is wrong (kg, or per MWh)."""
MAX_PUE: Final = 5.0
"""The worst machine rooms reported are near 3."""
MAX_WUE: Final = 50.0
"""Litres per kilowatt-hour on site: a site cooled by evaporation alone needs 2."""
MAX_EMBODIED_KG: Final = 100_000.0
"""Of one accelerator, or of its part of a host; whole racks of them stay below."""
MAX_LIFETIME_YEARS: Final = 30.0
MAX_SPREAD: Final = 10.0
"""Of a log-normal error: a figure off by a factor of ten says nothing."""
MAX_LAG_S: Final = 10 * 366 * 86_400.0
MAX_VERSION: Final = 1 << 62
MAX_TRAILING_HOURS: Final = 24.0 * 366
"""A year: older rows are beyond most ledgers' retention."""
MAX_AMORTISE_OVER: Final = 10**9
"""Requests that share a load: more than an engine serves in its life."""
MAX_PARALLEL: Final = 1 << 16
MAX_BYTES: Final = 1 << 60

FACTOR_LIMITS: Final = {
    "pue": (1.0, MAX_PUE),
    "wue": (0.0, MAX_WUE),
    "embodied_gpu": (0.0, MAX_EMBODIED_KG),
    "embodied_host": (0.0, MAX_EMBODIED_KG),
    "lifetime": (0.1, MAX_LIFETIME_YEARS),
}
"""Policies that are factors of carbon: least and most of every value."""

Fact = TypeVar("Fact", EngineDescriptor, ModelVersion, Policy, GridIntensity, Load)


def decode_engine(data: bytes) -> EngineDescriptor:
    """A message of `wattledger.engines.v1`."""
    document = documents.parse(data)
    experts = documents.integer(document, "experts_total", 0, MAX_PARALLEL, default=0)
    return EngineDescriptor(
        engine_id=documents.text(document, "engine_id"),
        group_id=documents.text(document, "group_id"),
        node_id=documents.text(document, "node_id"),
        effective_from_ns=_instant(document, "effective_from_ns"),
        model=documents.text(document, "model"),
        precision=documents.text(document, "precision"),
        gpu_model=documents.text(document, "gpu_model"),
        gpu_uuids=documents.texts(document, "gpu_uuids"),
        tensor_parallel=documents.integer(document, "tensor_parallel", 1, MAX_PARALLEL, default=1),
        pipeline_parallel=documents.integer(document, "pipeline_parallel", 1, MAX_PARALLEL, default=1),
        data_parallel=documents.integer(document, "data_parallel", 1, MAX_PARALLEL, default=1),
        engine_software=documents.text(document, "engine_software", default=""),
        zone=documents.text(document, "zone", default=""),
        site=documents.text(document, "site", default=""),
        weight_bytes=documents.integer(document, "weight_bytes", 0, MAX_BYTES, default=0),
        kv_bytes_per_token=documents.integer(document, "kv_bytes_per_token", 0, MAX_BYTES, default=0),
        experts_total=experts,
        experts_active=documents.integer(document, "experts_active", 0, experts, default=0),
        expert_weight_bytes=documents.integer(document, "expert_weight_bytes", 0, MAX_BYTES, default=0),
        contested_gpus=_names(document, "contested_gpus"),
    )


def decode_model(data: bytes) -> ModelVersion:
    """A message of `wattledger.models.v1`."""
    document = documents.parse(data)
    coefficients = _mapping(document, "coefficients")
    fit_error = document.get("fit_error")
    return ModelVersion(
        engine_class=documents.text(document, "engine_class"),
        version=documents.text(document, "version"),
        effective_from_ns=_instant(document, "effective_from_ns"),
        origin=documents.choice(document, "origin", ORIGINS),
        coefficients={
            _own_name(name): documents.number(coefficients, name, -1e30, 1e30) for name in coefficients
        },
        fit_error=None if fit_error is None else documents.number(document, "fit_error", 0, 1e30),
        covariance=_covariance(document.get("covariance", []), len(coefficients)),
        windows_from_ns=documents.integer(document, "windows_from_ns", 0, MAX_TIME_NS, default=0),
    )


def decode_policy(data: bytes) -> Policy:
    """A message of `wattledger.policies.v1`.

    Known names: `cold_start` (amortise_over: requests that share a load), `idle` (policy: provider or
    residency; trailing_hours), `idle/<engine class>` (one class's own), `unmetered` (policy: estimate or leave);
    and by site, GPU or zone, `default` for
    the others: `pue` (at least 1), `wue` (litres per kWh), `embodied_gpu` and `embodied_host` (kg CO2e of one
    accelerator, and of its part of the host), `lifetime` (years). The values of other names are not judged.
    """
    document = documents.parse(data)
    name = documents.text(document, "name")
    values = _mapping(document, "values")
    checked = {_own_name(key): _policy_value(values, key) for key in values}
    if name == "cold_start":
        checked["amortise_over"] = documents.integer(values, "values.amortise_over", 1, MAX_AMORTISE_OVER)
    elif name.partition("/")[0] == "idle":
        documents.choice(values, "values.policy", IDLE_POLICIES)
        if "values.trailing_hours" in values:
            documents.number(values, "values.trailing_hours", 1.0, MAX_TRAILING_HOURS)
    elif name == "unmetered":
        documents.choice(values, "values.policy", UNMETERED_POLICIES)
    elif name in FACTOR_LIMITS:
        for scope in values:
            documents.number(values, scope, *FACTOR_LIMITS[name])
    return Policy(name=name, effective_from_ns=_instant(document, "effective_from_ns"), values=checked)


def decode_grid(data: bytes) -> GridIntensity:
    """A message of `wattledger.grid.v1`."""
    document = documents.parse(data)
    valid_from_ns = _instant(document, "valid_from_ns")
    return GridIntensity(
        zone=documents.text(document, "zone"),
        valid_from_ns=valid_from_ns,
        valid_to_ns=documents.integer(document, "valid_to_ns", valid_from_ns + 1, MAX_TIME_NS),
        g_per_kwh=documents.number(document, "g_per_kwh", 0.0, MAX_G_PER_KWH),
        basis=documents.choice(document, "basis", BASES),
        source=documents.text(document, "source"),
        estimated=documents.flag(document, "estimated"),
        resolution=documents.choice({"resolution": "interval", **document}, "resolution", RESOLUTIONS),
        lag_s=documents.number({"lag_s": 0.0, **document}, "lag_s", -MAX_LAG_S, MAX_LAG_S),
        spread=documents.number({"spread": 1.0, **document}, "spread", 1.0, MAX_SPREAD),
        factor_version=documents.integer(document, "factor_version", 1, MAX_VERSION, default=1),
    )


def decode_load(data: bytes) -> Load:
    """A message of `wattledger.loads.v1`."""
    document = documents.parse(data)
    start_ns = _instant(document, "start_ns")
    return Load(
        load_id=documents.text(document, "load_id"),
        kind=documents.choice(document, "kind", LOAD_KINDS),
        group_id=documents.text(document, "group_id"),
        engine_id=documents.text(document, "engine_id"),
        incarnation=documents.text(document, "incarnation"),
        start_ns=start_ns,
        end_ns=documents.integer(document, "end_ns", start_ns + 1, MAX_TIME_NS),
        what=documents.text(document, "what"),
    )


def encode_engine(engine: EngineDescriptor) -> bytes:
    """The message that `decode_engine` reads."""
    return _encode(engine, decode_engine)


def encode_model(model: ModelVersion) -> bytes:
    """The message that `decode_model` reads."""
    return _encode(model, decode_model)


def encode_policy(policy: Policy) -> bytes:
    """The message that `decode_policy` reads."""
    return _encode(policy, decode_policy)


def encode_grid(grid: GridIntensity) -> bytes:
    """The message that `decode_grid` reads."""
    return _encode(grid, decode_grid)


def encode_load(load: Load) -> bytes:
    """The message that `decode_load` reads."""
    return _encode(load, decode_load)


def _encode(fact: Fact, decode: Callable[[bytes], Fact]) -> bytes:
    try:
        data = json.dumps(asdict(fact), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise MalformedMessage(f"{type(fact).__name__}: not to be written as JSON ({error})") from error
    decode(data)
    return data


def _instant(document: Document, field: str) -> int:
    """A time in Unix nanoseconds; 0 is a forgotten field, not 1970."""
    return documents.integer(document, field, 1, MAX_TIME_NS)


def _names(document: Document, field: str) -> tuple[str, ...]:
    """A list of distinct strings, which may be empty or absent."""
    return () if document.get(field, []) == [] else documents.texts(document, field)


def _mapping(document: Document, field: str) -> dict[str, Any]:
    """An object's entries, each under its full name `field.name`, as an error must call it."""
    found = document.get(field)
    if not isinstance(found, dict) or not found:
        raise MalformedMessage(f"{field}: {str(found)[:80]}; must be an object with at least one entry")
    for name in found:
        documents.text({f"{field}'s key": name}, f"{field}'s key")
    return {f"{field}.{name}": value for name, value in found.items()}


def _own_name(name: str) -> str:
    return name.partition(".")[2]


def _policy_value(values: Document, key: str) -> float | str:
    if isinstance(values[key], str):
        return documents.text(values, key, default="")
    return documents.number(values, key, -1e30, 1e30)


def _covariance(found: object, size: int) -> tuple[tuple[float, ...], ...]:
    """Empty, or one row and column per coefficient."""
    if not isinstance(found, list | tuple):
        raise MalformedMessage(f"covariance: {str(found)[:80]}; must be a list of rows")
    rows = tuple(documents.numbers(f"covariance[{place}]", row) for place, row in enumerate(found))
    if rows and (len(rows) != size or any(len(row) != size for row in rows)):
        shape = f"{len(rows)} rows of {sorted({len(row) for row in rows})}"
        raise MalformedMessage(f"covariance: {shape}; must be {size} by {size}, as the coefficients")
    return rows
