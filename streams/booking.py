"""A closed window becomes a booked batch: meter, accounts, split, integers. Pure: same inputs, same microjoules.

The meter's energy is divided over the accounts by what was expected in each of its steps (`timeline`), the
busy part over iterations and requests by the energy model and the Shapley value (`split`), all in float;
whole microjoules are made once, by largest remainder over accounts and requests together.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.identity import batch_id, inputs_digest, seed
from schemas.packed_iterations import PackedIterations
from schemas.side_inputs import EngineDescriptor
from streams.assembly import EngineWindow, assemble
from streams.batch import Batch
from streams.estimates import Estimate, estimate_of, estimated_uj
from streams.lines import EnginePart, booked_lines, request_scale, weights_of
from streams.meter_habits import late_share
from streams.metering import MeterInterval, collect_readings, measure
from streams.models import model_in_force
from streams.side_inputs import SideInputs
from streams.split import SplitRules, WindowSplit, split_window
from streams.timeline import IDLE, Timeline, divide, lay_out
from streams.uncertainty.edges import edge_error
from streams.uncertainty.sensors import sensor
from streams.whole_microjoules import whole_microjoules
from streams.windows import ClosedWindow

__all__ = ["book"]

Scalar = TypeVar("Scalar", bound=np.generic)

TIER_TELEMETRY: Final = 3
TIER_ESTIMATED: Final = 2
"""No counter covers any part of the window: booked as the energy model expects, until the meter's data come."""
TIER_UNMEASURED: Final = 0
"""The same, and nothing to estimate it by: nothing is booked until a reading after it is known."""


def book(
    closed: ClosedWindow,
    side: SideInputs,
    rules: SplitRules,
    *,
    revision: int = 0,
    reason: str = "",
) -> Batch:
    """Book one closed window; the id derives from group, incarnations and bounds, the seed from the id.

    Where no GPU's counter covers any of the window it is estimated, as tier 2 (`estimates`); where it cannot be,
    it has no accelerator energy: what nobody counted is not booked.
    """
    start_ns, end_ns = closed.start_ns, closed.end_ns
    windows = _engine_windows(closed)
    identity = batch_id(closed.group_id, [window.incarnation for window in windows], start_ns, end_ns)
    batch_seed = seed(identity)
    parts = [_part(window, side, rules, start_ns, end_ns, batch_seed) for window in windows]
    descriptors = _descriptors(closed, windows, side)
    meters = measure(collect_readings(held.frame for held in closed.energy), start_ns, end_ns)
    accelerators = [one for one in meters if one.meter.kind == "gpu"]
    estimate = None if accelerators else estimate_of(closed, side)
    host_uj = sum(one.energy_uj for one in meters if one.meter.kind == "host")
    timeline = _timeline(closed, parts, estimate)
    metered_uj = sum(one.energy_uj for one in accelerators)
    by_account_uj = _by_account(timeline, accelerators)
    edges = edge_error(accelerators, sensor(_joined(one.gpu_model for one in descriptors)))
    if estimate is not None and (metered_uj := round(float(estimated_uj(timeline).sum()))):
        by_account_uj, edges = estimated_uj(timeline), estimate.relative_sd
    weights = weights_of(by_account_uj, parts)
    energy_uj, energy_of_host_uj = (whole_microjoules(weights, uj) for uj in (metered_uj, host_uj))
    estimated = estimate is not None
    accounts, requests = booked_lines(closed, parts, energy_uj, energy_of_host_uj, edges, estimated)
    splits = [part.split for part in parts]
    zone, site = _place(closed, descriptors, side)
    return Batch(
        batch_id=identity,
        inputs=_inputs(closed, parts, rules, estimated),
        revision=revision,
        reason=reason,
        group_id=closed.group_id,
        partition=closed.partition,
        start_ns=start_ns,
        end_ns=end_ns,
        engine_ids=tuple(descriptor.engine_id for descriptor in descriptors),
        incarnations=tuple(window.incarnation for window in windows),
        engine_class=_joined(descriptor.engine_class for descriptor in descriptors),
        model=_joined(descriptor.model for descriptor in descriptors),
        gpu_model=_joined(descriptor.gpu_model for descriptor in descriptors),
        zone=zone,
        site=site,
        meters=tuple(meters),
        metered_uj=metered_uj,
        host_uj=host_uj,
        accounts=accounts,
        requests=requests,
        modelled_uj=round(1e6 * sum(split.modelled_j for split in splits)),
        request_scale=request_scale(weights, parts),
        gap_ns=timeline.gap_ns,
        gap_causes=closed.gap_causes,
        busy_ns=timeline.busy_ns,
        unmetered_ns=_unmetered_ns(closed, accelerators),
        features=_features(splits, timeline),
        method=_joined(split.method for split in splits if split.method),
        permutations=max((split.permutations for split in splits), default=0),
        evaluations=sum(split.evaluations for split in splits),
        seed=batch_seed,
        error_estimate=max((split.error_estimate for split in splits), default=0.0),
        converged=all(split.converged for split in splits),
        model_version=_joined(part.model.version for part in parts),
        model_origin=_joined(part.model.origin for part in parts),
        tier=TIER_TELEMETRY if accelerators else TIER_ESTIMATED if estimated else TIER_UNMEASURED,
        closed_by=closed.closed_by,
        iteration_offsets=_offset_range([held.offset for held in closed.iterations]),
        energy_offsets=_offset_range([held.offset for held in closed.energy]),
        iteration_frames=len(closed.iterations),
        energy_frames=len(closed.energy),
        ingested_ns=max(
            (held.arrival_ns for frames in (closed.iterations, closed.energy) for held in frames),
            default=end_ns,
        ),
        gpus=_gpus(descriptors, accelerators),
        edge_error=edges,
    )


def _inputs(closed: ClosedWindow, parts: Sequence[EnginePart], rules: SplitRules, estimated: bool) -> str:
    frames = [held.frame for held in closed.iterations]
    metered = [held.frame for held in closed.energy]
    return inputs_digest(
        [
            *((frame.engine_id, frame.incarnation, frame.sequence) for frame in frames),
            *((frame.node_id, frame.incarnation, frame.sequence) for frame in metered),
            *((part.model.version, part.window.engine_id) for part in parts),
            closed.gaps,
            closed.gap_causes,
            closed.loads,
            closed.closed_by,
            rules,
            *(("estimated",) if estimated else ()),
        ]
    )


def _engine_windows(closed: ClosedWindow) -> list[EngineWindow]:
    """One per engine process, by engine and incarnation; a process with no iteration inside has none."""
    frames: dict[tuple[str, str], list[PackedIterations]] = defaultdict(list)
    for held in closed.iterations:
        frames[held.frame.engine_id, held.frame.incarnation].append(held.frame)
    windows = [assemble(frames[key], closed.start_ns, closed.end_ns) for key in sorted(frames)]
    return [window for window in windows if len(window.iteration_start_ns)]


def _part(
    window: EngineWindow, side: SideInputs, rules: SplitRules, start_ns: int, end_ns: int, batch_seed: int
) -> EnginePart:
    descriptor = side.engine(window.engine_id, start_ns)
    assert descriptor is not None, f"intake let {window.engine_id} through without a descriptor"
    model = model_in_force(descriptor, side, start_ns)
    average_s = sensor(descriptor.gpu_model).average_s
    owed = late_share(window.iteration_start_ns, window.iteration_end_ns, end_ns, average_s)
    return EnginePart(window, model, split_window(window, model, rules, batch_seed, owed=owed))


def _descriptors(
    closed: ClosedWindow, windows: Sequence[EngineWindow], side: SideInputs
) -> list[EngineDescriptor]:
    """Descriptors of the engines attached to the group, also those that ran nothing."""
    names = {engine for held in closed.energy for engine in held.frame.engines}
    names |= {window.engine_id for window in windows}
    found = (side.engine(name, closed.start_ns) for name in sorted(names))
    return [descriptor for descriptor in found if descriptor is not None]


def _place(
    closed: ClosedWindow, descriptors: Sequence[EngineDescriptor], side: SideInputs
) -> tuple[str, str]:
    if descriptors:
        return descriptors[0].zone, descriptors[0].site
    return side.place(closed.energy[0].frame.node_id) if closed.energy else ("", "")


def _timeline(closed: ClosedWindow, parts: Sequence[EnginePart], estimate: Estimate | None) -> Timeline:
    idle_power_w = estimate.idle_power_w if estimate else 1.0
    return lay_out(
        closed.start_ns,
        closed.end_ns,
        _one_after_another([part.window.iteration_start_ns for part in parts], np.int64),
        _one_after_another([part.window.iteration_end_ns for part in parts], np.int64),
        _one_after_another([part.split.iteration_j for part in parts], np.float64),
        _one_after_another([part.split.iteration_serves for part in parts], np.bool_),
        idle_power_w=max((part.model.energy.idle_w for part in parts), default=idle_power_w),
        gaps=closed.gaps,
        loads=[(start, end) for _, _, start, end in closed.loads],
    )


def _one_after_another(columns: Sequence[NDArray[Scalar]], kind: type[Scalar]) -> NDArray[Scalar]:
    """All engines' (I,) as one; nearly always there is one engine."""
    return columns[0] if len(columns) == 1 else np.concatenate([np.zeros(0, kind), *columns])


def _by_account(timeline: Timeline, accelerators: Sequence[MeterInterval]) -> NDArray[np.float64]:
    """Measured microjoules per account, or what was expected where the counters say nothing.

    Without a counter there is no accelerator energy to split; the host's goes by the expectation.
    """
    measured_uj = divide(timeline, accelerators)
    if measured_uj.sum() > 0:
        return measured_uj
    expected_j = timeline.expected_j[:, -1].copy()
    expected_j[IDLE] += expected_j.sum() <= 0
    return expected_j


def _gpus(descriptors: Sequence[EngineDescriptor], accelerators: Sequence[MeterInterval]) -> int:
    """Accelerators of the group: those its engines hold, or where it has no engine those that are metered."""
    held = {uuid for descriptor in descriptors for uuid in descriptor.gpu_uuids}
    return len(held or {one.meter.meter_id for one in accelerators})


def _unmetered_ns(closed: ClosedWindow, accelerators: Sequence[MeterInterval]) -> int:
    """GPU time of the window that no counter covers; a window without any GPU's counter counts as one GPU's."""
    named = {meter.meter_id for held in closed.energy for meter in held.frame.meters if meter.kind == "gpu"}
    covered_ns = sum(one.right.at_ns - one.left.at_ns for one in accelerators)
    return max(len(named), 1) * (closed.end_ns - closed.start_ns) - covered_ns


def _features(splits: Sequence[WindowSplit], timeline: Timeline) -> dict[str, float]:
    """Sums of the energy model's terms over the batch, and the time beside them: what a fit needs."""
    totals = dict(splits[0].features) if splits else {}
    for split in splits[1:]:
        for name, value in split.features.items():
            totals[name] = totals.get(name, 0.0) + value
    totals["idle_s"] = timeline.idle_ns / 1e9
    return totals


def _joined(names: Iterable[str]) -> str:
    """Distinct names in order; nearly always one."""
    return "+".join(dict.fromkeys(names))


def _offset_range(offsets: Sequence[int]) -> tuple[int, int]:
    return (min(offsets), max(offsets)) if offsets else (-1, -1)
