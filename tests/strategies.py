"""Hypothesis strategies of what crosses the project's boundaries: frames and side inputs of any valid shape.

`iteration_frames()` and `energy_frames()` draw frames that every codec must carry unchanged: empty ones,
overlapping iterations, requests that leave and come back, drafts, chunks, times before the frame.
"""

import numpy as np
from hypothesis import strategies as st

from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.iterations import IterationFrame
from schemas.side_inputs import EngineDescriptor, GridIntensity, Load, ModelVersion, Policy

__all__ = ["energy_frames", "engines", "grids", "iteration_frames", "loads", "models", "policies"]

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CLIENT_IDS = TEXTS | st.uuids().map(lambda uuid: f"cmpl-{uuid.hex}")
TIMES_NS = st.integers(1, 2_000_000_000_000_000).map(lambda us: us * 1000)
TOKENS = st.integers(0, 40_000)


@st.composite
def iteration_frames(draw: st.DrawFn, most: int = 12) -> IterationFrame:
    """Frames of up to `most` iterations and requests."""
    start_ns = draw(TIMES_NS)
    starts_us = np.sort(_integers(draw, draw(st.integers(0, most)), -50_000, 600_000))
    ends_us = starts_us + _integers(draw, len(starts_us), 1, 90_000)
    length_us = draw(st.integers(max(0, int(ends_us.max(initial=0))), 1_000_000))
    # Never below 0: Unix time begins there.
    starts_ns = np.maximum(start_ns + starts_us * 1000, 0)
    ends_ns = np.maximum(start_ns + ends_us * 1000, starts_ns + 1000)
    end_ns = max(start_ns + length_us * 1000, int(ends_ns.max(initial=0)))

    requests = draw(st.integers(0, most))
    tenants = draw(st.lists(TEXTS, min_size=1 if requests else 0, max_size=4))
    loads = draw(st.lists(NAMES, max_size=2))
    adapters = draw(st.lists(NAMES, max_size=2))
    load = _integers(draw, requests, -1, len(loads) - 1)
    prompt = _integers(draw, requests, 0, 40_000)
    spans = draw(_spans(requests, len(starts_ns)))
    rows = int(sum(length for _, _, length in spans))
    at = np.array(sorted(draw(st.sets(st.integers(0, rows - 1), max_size=8))) if rows else [], np.int32)
    drafts = _integers(draw, len(at), 0, 8)
    return IterationFrame(
        group_id=draw(NAMES),
        engine_id=draw(NAMES),
        incarnation=draw(NAMES),
        incarnation_start_ns=draw(st.integers(0, 2**61)),
        sequence=draw(st.integers(0, 2**61)),
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=max(0, end_ns - draw(st.integers(0, 2_000_000)) * 1000),
        tenants=tuple(tenants),
        loads=tuple(loads),
        adapters=tuple(adapters),
        iteration_start_ns=starts_ns,
        iteration_end_ns=ends_ns,
        iteration_kind=_integers(draw, len(starts_ns), 0, 2).astype(np.uint8),
        iteration_padded_tokens=_integers(draw, len(starts_ns), 0, 2**31 - 1).astype(np.int32),
        request_ordinal=np.array(
            draw(st.lists(st.integers(0, 2**44), min_size=requests, max_size=requests, unique=True)), np.int64
        ),
        request_client_id=tuple(draw(st.lists(CLIENT_IDS, min_size=requests, max_size=requests))),
        request_tenant=_integers(draw, requests, 0, len(tenants) - 1).astype(np.int32),
        request_load=load.astype(np.int32),
        request_load_ordinal=np.where(load < 0, 0, _integers(draw, requests, 1, 2**44)),
        request_adapter=_integers(draw, requests, -1, len(adapters) - 1).astype(np.int32),
        request_prefix_group=np.array(
            draw(
                st.lists(
                    st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1),
                    min_size=requests,
                    max_size=requests,
                )
            ),
            np.uint64,
        ),
        request_prompt_tokens=prompt.astype(np.int32),
        request_cached_tokens=(prompt * draw(st.floats(0, 1))).astype(np.int32),
        span_request=np.array([request for request, _, _ in spans], np.int32),
        span_first_iteration=np.array([first for _, first, _ in spans], np.int32),
        span_length=np.array([length for _, _, length in spans], np.int32),
        span_entry_context=_integers(draw, len(spans), 0, 2_000_000).astype(np.int32),
        exception_row=at,
        exception_new_tokens=(drafts + _integers(draw, len(at), 1, 9000)).astype(np.int32),
        exception_drafts=drafts.astype(np.int32),
        exception_rejected=(drafts * draw(st.floats(0, 1))).astype(np.int32),
        exception_emitted=_integers(draw, len(at), 0, 9).astype(np.int32),
    )


@st.composite
def _spans(draw: st.DrawFn, requests: int, iterations: int) -> list[tuple[int, int, int]]:
    """(request, first iteration, length) of stays that do not overlap, in any order."""
    spans = []
    for request in range(requests):
        cuts = sorted(draw(st.sets(st.integers(0, iterations), max_size=6)))
        spans += [
            (request, first, after - first) for first, after in zip(cuts[::2], cuts[1::2], strict=False)
        ]
    return draw(st.permutations(spans))


@st.composite
def energy_frames(draw: st.DrawFn, most: int = 12) -> EnergyFrame:
    """Frames of up to four meters with up to `most` readings each."""
    start_ns = draw(st.integers(0, 2**60))
    end_ns = start_ns + draw(st.integers(0, 2_000_000_000))
    names = draw(st.lists(st.tuples(NAMES, TEXTS), max_size=4, unique=True))
    meters = tuple(
        Meter(
            meter_id=meter_id,
            kind=draw(st.sampled_from(["gpu", "host"])),
            epoch=epoch,
            scope=draw(st.sampled_from(["gpu", "module", "host"])),
            source=draw(st.sampled_from(["counter", "integrated", "parametric"])),
        )
        for meter_id, epoch in names
    )
    readings = []
    for meter in range(len(meters)):
        times = draw(st.sets(st.integers(max(0, start_ns - 10**9), end_ns), max_size=most))
        energy_uj = draw(st.integers(0, 2**60))
        for time_ns in sorted(times):
            readings.append((meter, time_ns, energy_uj))
            energy_uj += draw(st.integers(0, 10**9))
    if draw(st.booleans()):
        readings.sort(key=lambda reading: (reading[1], reading[0]))
    block = np.array(readings, np.int64).reshape(-1, 3).T
    return EnergyFrame(
        group_id=draw(NAMES),
        node_id=draw(NAMES),
        incarnation=draw(NAMES),
        sequence=draw(st.integers(0, 2**61)),
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=max(0, end_ns - draw(st.integers(0, 10**9))),
        engines=tuple(draw(st.lists(NAMES, max_size=3))),
        loads=tuple(
            ActiveLoad(load_id, engine_id, load_start, load_start + after if after else 0)
            for load_id, engine_id, load_start, after in draw(
                st.lists(st.tuples(NAMES, NAMES, TIMES_NS, st.integers(0, 10**12)), max_size=2)
            )
        ),
        meters=meters,
        reading_meter=block[0].astype(np.int32),
        reading_time_ns=block[1],
        reading_uj=block[2],
    )


def engines() -> st.SearchStrategy[EngineDescriptor]:
    """Descriptors of dense and MoE engines."""
    return st.builds(
        EngineDescriptor,
        engine_id=NAMES,
        group_id=NAMES,
        node_id=NAMES,
        effective_from_ns=TIMES_NS,
        model=NAMES,
        precision=NAMES,
        gpu_model=NAMES,
        gpu_uuids=st.lists(NAMES, min_size=1, max_size=8, unique=True).map(tuple),
        tensor_parallel=st.integers(1, 64),
        pipeline_parallel=st.integers(1, 64),
        data_parallel=st.integers(1, 64),
        engine_software=TEXTS,
        zone=TEXTS,
        site=TEXTS,
        weight_bytes=st.integers(0, 2**50),
        kv_bytes_per_token=st.integers(0, 2**30),
        experts_total=st.integers(64, 512),
        experts_active=st.integers(0, 64),
        expert_weight_bytes=st.integers(0, 2**50),
        contested_gpus=st.lists(NAMES, max_size=2, unique=True).map(tuple),
    )


def models() -> st.SearchStrategy[ModelVersion]:
    """Energy models with and without a covariance."""
    sizes = st.floats(-1e20, 1e20)
    plain = st.builds(
        ModelVersion,
        engine_class=NAMES,
        version=NAMES,
        effective_from_ns=TIMES_NS,
        origin=st.sampled_from(["prior", "fit"]),
        coefficients=st.dictionaries(NAMES, sizes, min_size=1, max_size=4),
        fit_error=st.none() | st.floats(0, 10),
    )
    certain = st.builds(
        ModelVersion,
        engine_class=NAMES,
        version=NAMES,
        effective_from_ns=TIMES_NS,
        origin=st.just("fit"),
        coefficients=st.fixed_dictionaries({"a": sizes, "b": sizes}),
        covariance=st.tuples(st.tuples(sizes, sizes), st.tuples(sizes, sizes)),
    )
    return plain | certain


def policies() -> st.SearchStrategy[Policy]:
    """Known policies, and some of a newer version."""
    values = st.one_of(
        st.tuples(st.just("cold_start"), st.fixed_dictionaries({"amortise_over": st.integers(1, 10**6)})),
        st.tuples(
            st.just("idle"), st.fixed_dictionaries({"policy": st.sampled_from(["provider", "residency"])})
        ),
        st.tuples(st.just("pue"), st.dictionaries(NAMES, st.floats(1, 5), min_size=1, max_size=3)),
        st.tuples(
            st.just("later"), st.dictionaries(NAMES, st.floats(-1e9, 1e9) | TEXTS, min_size=1, max_size=3)
        ),
    )
    return st.builds(
        lambda known, at: Policy(name=known[0], effective_from_ns=at, values=known[1]), values, TIMES_NS
    )


def grids() -> st.SearchStrategy[GridIntensity]:
    """Intensities from none to the dirtiest."""
    return st.builds(
        lambda zone, start, length, grams, basis, source, estimated: GridIntensity(
            zone, start, start + length, grams, basis, source, estimated
        ),
        NAMES,
        TIMES_NS,
        st.integers(1, 10**13),
        st.floats(0, 2000),
        st.sampled_from(["location", "market"]),
        NAMES,
        st.booleans(),
    )


def loads() -> st.SearchStrategy[Load]:
    """Loads of every kind."""
    return st.builds(
        lambda load_id, kind, names, start, length, what: Load(
            load_id, kind, *names, start, start + length, what
        ),
        NAMES,
        st.sampled_from(["model_load", "wake_up", "adapter_load", "unload"]),
        st.tuples(NAMES, NAMES, NAMES),
        TIMES_NS,
        st.integers(1, 10**12),
        NAMES,
    )


def _integers(
    draw: st.DrawFn, count: int, least: int, most: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    values = st.integers(least, most) if least <= most else st.nothing()
    return np.array(draw(st.lists(values, min_size=count, max_size=count)) if count else [], np.int64)
