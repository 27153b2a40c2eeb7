"""A simulated fleet: frames say what the engines did, meters read what they drew, accounts add up."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from producers.simulation.fleet import FRAME_US, Fleet, events, simulate_fleet
from producers.simulation.presets import demo_scenario, trace_scenario
from producers.simulation.requests import from_columns
from producers.simulation.timeline import ACCOUNTS, COLD_START, IDLE, OVERHEAD, REQUEST
from producers.simulation.truth import group_truth, truth_document
from schemas.energy import EnergyFrame
from schemas.errors import ConfigurationError
from schemas.frames import decode_energy, decode_iterations, encode_energy, encode_iterations
from schemas.iterations import DUMMY, NORMAL, WARM_UP, IterationFrame, expand
from schemas.side_inputs import EngineDescriptor, Load

ORIGIN_NS = 1_700_000_000_000_000_000
SECONDS = 80


@cache
def fleet() -> Fleet:
    return simulate_fleet(demo_scenario(duration_s=SECONDS, seed=5))


@cache
def all_events():
    return tuple(events(fleet(), ORIGIN_NS))


def frames_of(engine_id: str) -> list[IterationFrame]:
    return [
        event.value
        for event in all_events()
        if isinstance(event.value, IterationFrame) and event.value.engine_id == engine_id
    ]


def energy_of(group_id: str) -> list[EnergyFrame]:
    return [
        event.value
        for event in all_events()
        if isinstance(event.value, EnergyFrame) and event.value.group_id == group_id
    ]


def runs():
    return [pytest.param(run, id=run.spec.name) for run in fleet().engines]


def groups():
    return [pytest.param(group, id=group.group_id) for group in fleet().groups]


def same(one, other) -> None:
    assert type(one) is type(other)
    for name in type(one).__slots__:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_every_frame_survives_the_wire():
    for event in all_events():
        if isinstance(event.value, IterationFrame):
            same(decode_iterations(encode_iterations(event.value)), event.value)
        elif isinstance(event.value, EnergyFrame):
            same(decode_energy(encode_energy(event.value)), event.value)


@pytest.mark.parametrize("run", runs())
def test_frames_add_up_to_what_the_engine_ran(run):
    frames = frames_of(run.log.engine_id)
    rows = [expand(frame) for frame in frames]
    schedule = run.log.schedule
    assert sum(len(frame.iteration_start_ns) for frame in frames) == len(run.log.start_us)
    assert sum(len(row.iteration) for row in rows) == schedule.request_iterations
    assert sum(int(row.new_tokens.sum()) for row in rows) == int(
        (schedule.piece_length * schedule.piece_new_tokens).sum()
    )
    emitted = np.zeros(len(run.log.requests) + run.log.admitted_before + 1, np.int64)
    for frame, row in zip(frames, rows, strict=True):
        np.add.at(emitted, frame.request_ordinal[row.request], row.emitted)
    by_ordinal = run.log.admitted_before + schedule.admission + 1
    assert emitted[by_ordinal].tolist() == run.log.requests.output_tokens.tolist()


@pytest.mark.parametrize("run", runs())
def test_rows_carry_the_context_that_the_energy_was_computed_from(run):
    context, chunks = [], []
    for frame in frames_of(run.log.engine_id):
        row = expand(frame)
        size = len(frame.iteration_start_ns)
        prefill = np.zeros(len(row.iteration), np.bool_)
        prefill[frame.exception_row] = True
        context.append(np.bincount(row.iteration[~prefill], row.context_tokens[~prefill], size))
        chunks.append(np.bincount(row.iteration[prefill], row.new_tokens[prefill], size))
    normal = run.log.kind == NORMAL
    assert np.array_equal(np.concatenate(context)[normal], run.log.schedule.context_tokens)
    assert np.array_equal(np.concatenate(chunks)[normal], run.log.schedule.prefill_tokens)


@pytest.mark.parametrize("run", runs())
def test_frames_are_heartbeats_without_holes_and_watermarks_hold(run):
    frames = frames_of(run.log.engine_id)
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    for frame, following in pairwise(frames):
        assert frame.end_ns == following.start_ns
        assert frame.watermark_ns <= following.watermark_ns
        assert np.all(frame.iteration_end_ns <= frame.end_ns)
        assert np.all(frame.iteration_end_ns > frame.start_ns)
    for frame, later in pairwise(frames):
        assert np.all(later.iteration_start_ns >= frame.watermark_ns)
    assert frames[-1].watermark_ns == frames[-1].end_ns == ORIGIN_NS + fleet().end_us * 1000


@pytest.mark.parametrize("group", groups())
def test_energy_frames_are_heartbeats_and_know_all_meters_up_to_their_watermark(group):
    frames = energy_of(group.group_id)
    assert [frame.sequence for frame in frames] == list(range(fleet().end_us // FRAME_US))
    last = np.zeros(len(group.meters), np.int64)
    for frame in frames:
        np.maximum.at(last, frame.reading_meter, frame.reading_time_ns)
        assert frame.watermark_ns == last.min()
        assert frame.reading_time_ns.max() <= frame.end_ns


@pytest.mark.parametrize("group", groups())
def test_the_meter_integral_equals_the_truth_to_the_millijoule(group):
    frames = energy_of(group.group_id)
    total_j = group.timeline.energy_j[:, -1].sum()
    gpus = [index for index, meter in enumerate(group.meters) if meter.kind == "gpu"]
    counted_uj = 0
    for index in gpus:
        values = np.concatenate([frame.reading_uj[frame.reading_meter == index] for frame in frames])
        assert np.all(np.diff(values) > 0)
        assert np.all((values - values[0]) % 1000 == 0)
        counted_uj += int(values[-1] - values[0])
    assert counted_uj == pytest.approx(total_j * 1e6, abs=1000 * len(gpus))


@pytest.mark.parametrize("group", groups())
def test_windows_read_off_the_meter_agree_with_the_truth_of_each_account_together(group):
    truth = group_truth(fleet(), group.group_id, ORIGIN_NS)
    frames = energy_of(group.group_id)
    read_j = np.zeros(len(truth.window_ns) - 1)
    for index, meter in enumerate(group.meters):
        if meter.kind != "gpu":
            continue
        times = np.concatenate([frame.reading_time_ns[frame.reading_meter == index] for frame in frames])
        values = np.concatenate([frame.reading_uj[frame.reading_meter == index] for frame in frames])
        edges = np.interp(truth.window_ns - ORIGIN_NS, times - ORIGIN_NS, values)
        read_j += np.diff(edges) / 1e6
    drawn_j = truth.accounts_j.sum(axis=0)
    # An edge between two steps of the counter is off by at most what a step can hold.
    assert read_j == pytest.approx(drawn_j, abs=0.06 * 700 * 2 * len(group.meters))
    assert read_j.sum() == pytest.approx(drawn_j.sum(), rel=1e-5)


@pytest.mark.parametrize("run", runs())
def test_accounts_hold_iterations_idle_load_and_overhead(run):
    accounts = fleet().timeline(run.log.group_id).energy_j[:, -1]
    normal = run.log.kind == NORMAL
    assert accounts[REQUEST] == pytest.approx(run.energy_j[normal].sum(), rel=1e-9)
    assert accounts[OVERHEAD] == pytest.approx(run.energy_j[~normal].sum(), rel=1e-9)
    kind = run.spec.engine_type
    load_j = sum(seconds * watts for seconds, watts in kind.load_phases) * kind.gpus if run.load else 0.0
    assert accounts[COLD_START] == pytest.approx(load_j, abs=1e-6)
    busy_us = int((run.log.end_us - run.log.start_us).sum())
    idle_us = fleet().end_us - busy_us - (run.load.end_us - run.load.start_us if run.load else 0)
    assert kind.bare_idle_w * kind.gpus * idle_us <= accounts[IDLE] * 1e6 + 1
    assert accounts[IDLE] * 1e6 <= kind.loaded_idle_w * kind.gpus * idle_us + 1


def test_the_load_is_announced_when_it_ends_and_seen_by_the_meter_while_it_runs():
    (load,) = (event for event in all_events() if isinstance(event.value, Load))
    assert load.value.end_ns <= load.at_ns < load.value.end_ns + FRAME_US * 1000
    seen = [frame.loads for frame in energy_of(load.group_id) if frame.loads]
    assert {active.load_id for loads in seen for active in loads} == {load.value.load_id}
    assert [loads[0].end_ns for loads in seen] == [0] * (len(seen) - 1) + [load.value.end_ns]


def test_requests_after_the_load_count_from_one_and_others_are_long_past_it():
    for run in fleet().engines:
        ordinals = np.unique(np.concatenate([f.request_load_ordinal for f in frames_of(run.log.engine_id)]))
        if run.load:
            assert ordinals.tolist() == list(range(1, len(run.log.requests) + 1))
        else:
            assert ordinals.min() > 1000


def test_an_engine_is_silent_before_it_is_born_and_its_group_is_metered_throughout():
    (run,) = (run for run in fleet().engines if run.load)
    first = frames_of(run.log.engine_id)[0]
    assert first.start_ns == first.incarnation_start_ns == ORIGIN_NS + run.load.start_us * 1000
    attached = [bool(frame.engines) for frame in energy_of(run.log.group_id)]
    assert attached.index(True) * FRAME_US <= run.load.start_us < (attached.index(True) + 1) * FRAME_US
    assert all(attached[attached.index(True) :])


def test_the_demo_is_a_fleet_worth_watching():
    scenario, found = fleet().scenario, fleet()
    kinds = {int(kind) for run in found.engines for kind in np.unique(run.log.kind)}
    tenants = {
        run.log.requests.tenants[i] for run in found.engines for i in np.unique(run.log.requests.tenant)
    }
    assert len(scenario.nodes) >= 2
    assert len({run.spec.engine_type.name for run in found.engines}) >= 4
    assert len(tenants) >= 30
    assert kinds == {NORMAL, DUMMY, WARM_UP}
    spare = [group for group in found.groups if not group.engine_id]
    assert len(spare) == len(scenario.nodes)
    assert all(frame.engines == () for group in spare for frame in energy_of(group.group_id))
    named = {e.value.engine_id for e in all_events() if isinstance(e.value, EngineDescriptor)}
    assert named == {run.log.engine_id for run in found.engines}


def test_events_come_in_time_order_with_descriptors_first():
    times = [event.at_ns for event in all_events()]
    assert times == sorted(times)
    kinds = [isinstance(event.value, EngineDescriptor) for event in all_events()]
    assert kinds == sorted(kinds, reverse=True)


def test_the_same_seed_gives_the_same_messages_and_another_does_not():
    def some(seed):
        found = simulate_fleet(demo_scenario(duration_s=70, seed=seed))
        return [
            encode_iterations(event.value)
            for event in events(found, ORIGIN_NS)
            if isinstance(event.value, IterationFrame)
        ][:200]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_truth_as_a_document_names_every_group_and_account():
    document = truth_document(fleet(), ORIGIN_NS)
    assert [group["group_id"] for group in document["groups"]] == [g.group_id for g in fleet().groups]
    for entry in document["groups"]:
        assert set(entry["accounts_j"]) == set(ACCOUNTS)
        for account in ACCOUNTS:
            assert sum(entry["window_accounts_j"][account]) == pytest.approx(entry["accounts_j"][account])


def test_a_duration_that_ends_before_the_load_does_is_refused():
    with pytest.raises(ConfigurationError, match="assistant has loaded"):
        demo_scenario(duration_s=20)


def test_a_node_without_requests_idles_and_still_reports():
    requests = from_columns([0], [10], [3])
    found = simulate_fleet(trace_scenario(requests, "qwen3-14b-h100", nodes=2, seed=1))
    assert [run.log.schedule.request_iterations for run in found.engines] == [3, 0]
    idle = found.timeline(found.engines[1].log.group_id).energy_j[:, -1]
    assert idle[IDLE] == pytest.approx(120.0 * found.end_us / 1e6)
    frames = [event.value for event in events(found, ORIGIN_NS) if isinstance(event.value, IterationFrame)]
    assert len(frames) == 2 * found.end_us // FRAME_US


def test_a_frame_in_which_no_iteration_ended_is_empty_and_says_how_far_it_knows():
    requests = from_columns([0], [200_000], [1])
    found = simulate_fleet(trace_scenario(requests, "qwen3-14b-h100", nodes=1, seed=1))
    schedule = found.engines[0].log.schedule
    (longest,) = np.flatnonzero(
        schedule.end_us - schedule.start_us == (schedule.end_us - schedule.start_us).max()
    )
    assert schedule.end_us[longest] - schedule.start_us[longest] > 2 * FRAME_US
    empty = [
        event.value
        for event in events(found, ORIGIN_NS)
        if isinstance(event.value, IterationFrame)
        and event.value.start_ns >= ORIGIN_NS + schedule.start_us[longest] * 1000
        and event.value.end_ns < ORIGIN_NS + schedule.end_us[longest] * 1000
    ]
    assert empty
    for frame in empty:
        assert len(frame.iteration_start_ns) == len(frame.span_request) == len(frame.request_ordinal) == 0
        assert frame.watermark_ns == ORIGIN_NS + schedule.start_us[longest] * 1000
        same(decode_iterations(encode_iterations(frame)), frame)
