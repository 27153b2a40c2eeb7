"""Tenants side by side agree with the books, and a token price moves energy but makes none."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError
from streams.answers.summary import format_tenants, tenant_rows
from streams.answers.token_price import token_charges
from tests.answers.conftest import Ledger


def test_tenants_sum_to_what_the_batches_booked_to_requests(ledger: Ledger) -> None:
    rows = tenant_rows(ledger.client, ledger.period.start, ledger.period.end)
    booked_uj = sum(batch.account_uj("request") for batch in ledger.filled.batches)
    assert sum(row.energy_uj for row in rows) == booked_uj
    assert sum(row.token_price_uj for row in rows) == pytest.approx(booked_uj, rel=1e-12)


def test_every_simulated_tenant_is_there_with_its_requests_and_tokens(ledger: Ledger) -> None:
    rows = {row.tenant: row for row in tenant_rows(ledger.client, ledger.period.start, ledger.period.end)}
    requests: dict[str, int] = {}
    emitted: dict[str, int] = {}
    for batch in ledger.filled.batches:
        for lines in batch.requests:
            for tenant in lines.window.requests.tenant:
                requests.setdefault(tenant, 0)
    for run in ledger.filled.fleet.engines:
        trace = run.spec.requests
        for tenant, tokens in zip(trace.tenant.tolist(), trace.output_tokens.tolist(), strict=True):
            name = trace.tenants[tenant]
            requests[name] += 1
            emitted[name] = emitted.get(name, 0) + tokens
    assert {name: row.requests for name, row in rows.items()} == requests
    assert {name: row.emitted_tokens for name, row in rows.items()} == emitted


def test_cold_start_energy_that_moved_is_shown_with_its_tenants(ledger: Ledger) -> None:
    rows = tenant_rows(ledger.client, ledger.period.start, ledger.period.end)
    booked_uj = sum(batch.account_uj("cold_start") for batch in ledger.filled.batches)
    moved_uj = sum(row.cold_start_uj for row in rows)
    assert 0 < moved_uj <= booked_uj


def test_two_halves_of_a_period_sum_to_the_whole(ledger: Ledger) -> None:
    whole = ledger.period
    middle = whole.start + timedelta(seconds=60)
    halves = [
        *tenant_rows(ledger.client, whole.start, middle),
        *tenant_rows(ledger.client, middle, whole.end),
    ]
    rows = tenant_rows(ledger.client, whole.start, whole.end)
    for name in ("energy_uj", "emitted_tokens", "cold_start_uj", "host_uj"):
        assert sum(getattr(row, name) for row in halves) == sum(getattr(row, name) for row in rows)


def test_an_empty_period_has_no_tenants(ledger: Ledger) -> None:
    later = ledger.period.end + timedelta(days=1)
    assert tenant_rows(ledger.client, later, later + timedelta(hours=1)) == []
    assert "No request" in format_tenants([])


def test_a_period_that_ends_before_it_begins_is_refused(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="is not before"):
        tenant_rows(ledger.client, ledger.period.end, ledger.period.start)


def test_the_terminal_table_names_what_it_leaves_out(ledger: Ledger) -> None:
    rows = tenant_rows(ledger.client, ledger.period.start, ledger.period.end)
    lines = format_tenants(rows, most=5).splitlines()
    assert lines[2].startswith(rows[0].tenant)
    assert any(line.startswith(f"{len(rows) - 5} others") for line in lines)
    assert lines[-1].startswith("all")
    assert len({len(line) for line in lines}) == 1


LINES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 10**12), st.integers(0, 10**5), st.integers(0, 10**5)),
    max_size=20,
)


@given(LINES, st.floats(0.1, 10))
def test_a_token_price_recovers_each_models_energy_exactly(
    lines: list[tuple[str, int, int, int]], output_weight: float
) -> None:
    models = [line[0] for line in lines]
    energy, prompt, emitted = (np.asarray([line[i] for line in lines], np.float64) for i in (1, 2, 3))
    charged = token_charges(models, energy, prompt, emitted, output_weight=output_weight)
    for model in set(models):
        of_model = np.asarray([name == model for name in models])
        assert charged[of_model].sum() == pytest.approx(energy[of_model].sum(), rel=1e-9)
    assert (charged >= 0).all()


def test_under_a_token_price_equal_tokens_pay_the_same_whatever_they_drew() -> None:
    charged = token_charges(
        ["m", "m"], np.asarray([1.0, 9.0]), np.asarray([10.0, 10.0]), np.asarray([5.0, 5.0])
    )
    assert charged.tolist() == [5.0, 5.0]
