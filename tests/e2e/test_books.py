"""A fleet through Kafka, the worker and ClickHouse: every joule where the simulator knows it was spent."""

import numpy as np
import pytest

from producers.simulation.engines import EngineRun
from producers.simulation.timeline import ACCOUNTS
from producers.simulation.truth import group_truth
from streams.ledger.transfers import cold_start_balance, write_transfers
from tests.e2e.conftest import Bench, Booked
from tests.rig.ledgers import accounts_j, books_of, sealed_until_ns, wait_until_booked
from tests.rig.streams import Stream

pytestmark = pytest.mark.kafka

TOLERANCE = {"request": 0.01, "idle": 0.02, "cold_start": 0.01, "overhead": 0.05}
"""The meter steps every 100 ms and an account may begin in mid-step; hence not zero."""


def truth_j(stream: Stream, group_id: str, until_ns: int) -> dict[str, float]:
    truth = group_truth(stream.fleet, group_id, stream.origin_ns)
    inside = truth.window_ns[1:] <= until_ns
    return dict(zip(ACCOUNTS, truth.accounts_j[:, inside].sum(axis=1).tolist(), strict=True))


def test_the_books_close_and_nothing_is_unobserved(reference: Booked, stream: Stream):
    books = books_of(reference.client)
    assert books.closes, books.open_windows
    assert books.total.unobserved_uj == 0
    assert {group.group_id for group in books.groups} == {group.group_id for group in stream.fleet.groups}


def test_every_account_of_every_group_is_what_the_simulator_spent(reference: Booked, stream: Stream):
    sealed = sealed_until_ns(reference.client, stream.cluster)
    for group in stream.fleet.groups:
        truth = truth_j(stream, group.group_id, sealed[group.group_id])
        booked = accounts_j(reference.client, group.group_id)
        for account, share in TOLERANCE.items():
            assert booked[account] == pytest.approx(truth[account], rel=share, abs=1.0), (
                group.group_id,
                account,
            )
        assert sum(booked.values()) == pytest.approx(sum(truth.values()), rel=1e-4)


def test_no_window_of_an_undisturbed_stream_waits_for_a_silent_engine(reference: Booked):
    closed_by = reference.client.query("SELECT DISTINCT closed_by FROM batches").result_rows
    assert closed_by == [("watermark",)]


def tokens_in_truth(run: EngineRun) -> dict[int, tuple[int, int]]:
    """(computed, emitted) by the hook's ordinal."""
    schedule = run.log.schedule
    size = len(run.log.requests)
    computed = np.bincount(schedule.piece_request, schedule.piece_new_tokens * schedule.piece_length, size)
    emitted = np.bincount(schedule.piece_request, schedule.piece_emitted * schedule.piece_length, size)
    ordinals = run.log.admitted_before + schedule.admission + 1
    return {
        int(ordinal): (round(new), round(out))
        for ordinal, new, out in zip(ordinals, computed, emitted, strict=True)
    }


def test_every_request_is_booked_with_the_tokens_that_the_simulator_computed(
    reference: Booked, stream: Stream
):
    sealed = sealed_until_ns(reference.client, stream.cluster)
    for run in stream.fleet.engines:
        booked = {
            ordinal: (int(computed), int(emitted), prompt)
            for ordinal, computed, emitted, prompt in reference.client.query(
                "SELECT ordinal, sum(prefill_tokens + decode_tokens), sum(emitted_tokens), any(prompt_tokens) "
                "FROM current_ledger WHERE account = 'request' AND engine_id = {engine:String} GROUP BY ordinal",
                parameters={"engine": run.log.engine_id},
            ).result_rows
        }
        truth = tokens_in_truth(run)
        requests, schedule = run.log.requests, run.log.schedule
        finished = stream.origin_ns + schedule.finished_us * 1000 <= sealed[run.log.group_id]
        assert finished.mean() > 0.9
        for index in np.flatnonzero(finished):
            ordinal = int(run.log.admitted_before + schedule.admission[index] + 1)
            computed, emitted = truth[ordinal]
            assert emitted == requests.output_tokens[index]
            assert booked[ordinal] == (computed, emitted, requests.prompt_tokens[index])
        assert set(booked) <= set(truth)


def test_the_shares_of_a_load_sum_to_its_energy(reference: Booked, stream: Stream):
    (load,) = cold_start_balance(reference.client)
    booked = sum(accounts_j(reference.client, group.group_id)["cold_start"] for group in stream.fleet.groups)
    assert load.energy_uj == pytest.approx(booked * 1e6, abs=1)
    assert load.claimed_uj + load.unclaimed_uj == load.energy_uj
    assert load.requests > 0
    assert books_of(reference.client).open_transfers == 0


def test_the_published_sampling_method_closes_the_same_books(bench: Bench, stream: Stream, reference: Booked):
    with bench.database() as (dsn, client):
        with bench.worker(dsn, bench.group(stream), "--method", "truncated"):
            wait_until_booked(
                client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns(), timeout_s=120
            )
        write_transfers(client)
        books, exact = books_of(client), books_of(reference.client)
        assert books.closes, books.open_windows
        assert books.total.metered_uj == exact.total.metered_uj
        methods = client.query("SELECT DISTINCT method FROM current_batches WHERE method != ''").result_rows
        assert methods
        assert all(method.startswith("shapley_truncated_K") for (method,) in methods)
        for group in stream.fleet.groups:
            assert accounts_j(client, group.group_id)["request"] == pytest.approx(
                accounts_j(reference.client, group.group_id)["request"], rel=1e-6
            )
