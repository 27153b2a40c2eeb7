"""Traces: what ships loads, draws repeat, and a wrong file is answered with file, line, column and remedy."""

import json

import numpy as np
import pytest

from producers.simulation.presets import load_trace, sample_path, tenant_names
from producers.simulation.requests import concatenate, from_columns, limit_output, take
from producers.simulation.servegen import draw_requests, read_clients
from producers.simulation.traces import load_azure, load_csv, load_mooncake
from schemas.errors import ConfigurationError, DataError


def clients():
    return read_clients(sample_path("servegen_rates.csv"), sample_path("servegen_tokens.csv"))


def test_the_azure_sample_keeps_its_times_and_lengths():
    trace = load_azure(sample_path("azure_code.csv"), ("a", "b"), seed=1)
    assert len(trace) == 2000
    assert (trace.prompt_tokens[0], trace.output_tokens[0], trace.arrival_us[1]) == (4808, 10, 52_000)
    assert trace.prompt_tokens.mean() == pytest.approx(2048, rel=0.15)


def test_tenants_are_dealt_the_same_way_every_time_and_unevenly():
    first = load_azure(sample_path("azure_code.csv"), tenant_names()[:12], seed=1)
    again = load_azure(sample_path("azure_code.csv"), tenant_names()[:12], seed=1)
    other = load_azure(sample_path("azure_code.csv"), tenant_names()[:12], seed=2)
    assert np.array_equal(first.tenant, again.tenant)
    assert not np.array_equal(first.tenant, other.tenant)
    share = np.bincount(first.tenant, minlength=12) / len(first)
    assert share[0] > 3 * share[-1] > 0


def test_the_mooncake_sample_shares_prefixes():
    trace = load_mooncake(sample_path("mooncake.jsonl"), ("a",), seed=1)
    leading = [blocks[0] for blocks in trace.blocks]
    assert len(set(leading)) < len(leading)
    assert trace.block_tokens == 512


def test_a_client_of_servegen_sends_its_share_with_its_lengths():
    population = clients()
    drawn = draw_requests(population, tenant_names(), duration_s=5000, requests_per_s=20, flatten=0.0, seed=3)
    assert len(population) == 25
    assert len(drawn) == pytest.approx(100_000, rel=0.1)
    steady = next(i for i, client in enumerate(population) if client.client_id == 18)
    mine = drawn.tenant == steady
    assert mine.sum() == pytest.approx(4000, rel=0.1)
    assert drawn.output_tokens[mine].mean() == pytest.approx(55, rel=0.05)
    assert drawn.prompt_tokens[mine].mean() == pytest.approx(46, rel=0.05)


def test_servegen_draws_repeat_with_their_seed():
    def drawn(seed):
        return draw_requests(
            clients(), tenant_names(), duration_s=60, requests_per_s=10, flatten=0.5, seed=seed
        )

    assert np.array_equal(drawn(1).arrival_us, drawn(1).arrival_us)
    assert np.array_equal(drawn(1).output_tokens, drawn(1).output_tokens)
    assert not np.array_equal(drawn(1).arrival_us[:50], drawn(2).arrival_us[:50])


def test_flatten_keeps_or_levels_the_production_mix():
    def largest_share(flatten):
        drawn = draw_requests(
            clients(), tenant_names(), duration_s=500, requests_per_s=20, flatten=flatten, seed=1
        )
        return np.bincount(drawn.tenant).max() / len(drawn)

    assert largest_share(1.0) > 2 * largest_share(0.0)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


HEAD = "arrival_s,prompt_tokens,output_tokens,tenant\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arrival_s,prompt_tokens,tenant\n", r"own\.csv:1: column output_tokens is missing"),
        (HEAD + "0.0,12,3,a\n1.0,twelve,3,a\n", r"own\.csv:3: column prompt_tokens is 'twelve'"),
        (HEAD + "0.0,12,3,a\n1.0,12\n", r"own\.csv:3: column output_tokens is ''"),
        (HEAD + "0.0,-5,3,a\n", r"own\.csv:2: column prompt_tokens is -5"),
        (HEAD + "0.0,5,0,a\n", r"own\.csv:2: column output_tokens is 0"),
        (HEAD + "0.0,99000000,1,a\n", r"own\.csv:2: column prompt_tokens is 99000000"),
        (HEAD + "0.0,5,1,a\n3.0,5,1,a\n2.0,5,1,a\n", r"own\.csv:4: column arrival_s .* sort the file"),
        (HEAD, r"own\.csv: holds no request"),
        ("", r"own\.csv:1: column .* is missing"),
    ],
)
def test_a_wrong_csv_is_answered_with_line_column_and_remedy(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load_csv(write(tmp_path / "own.csv", text))


def test_a_csv_of_ones_own_keeps_its_tenants(tmp_path):
    trace = load_csv(write(tmp_path / "own.csv", HEAD + "5.5,10,2,beta\n6.0,11,3,alpha\n6.25,12,4,beta\n"))
    assert [trace.tenants[i] for i in trace.tenant] == ["beta", "alpha", "beta"]
    assert trace.arrival_us.tolist() == [0, 500_000, 750_000]


def test_wrong_mooncake_and_azure_lines_are_named(tmp_path):
    good = json.dumps({"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]})
    with pytest.raises(DataError, match=r"m\.jsonl:2: KeyError\('hash_ids'\)"):
        load_mooncake(
            write(tmp_path / "m.jsonl", good + '\n{"timestamp": 1, "input_length": 5, "output_length": 1}\n'),
            ("a",),
            seed=1,
        )
    with pytest.raises(DataError, match=r"a\.csv:2: column TIMESTAMP is 'noon'"):
        load_azure(
            write(tmp_path / "a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,1\n"), ("a",), seed=1
        )
    with pytest.raises(DataError, match="cannot be read"):
        load_azure(tmp_path / "absent.csv", ("a",), seed=1)


def test_wrong_servegen_tables_are_named(tmp_path):
    rates = write(tmp_path / "rates.csv", "client_id,t_s,rate_rps,iat_dist,iat_p1\n1,0,-2,Gamma,1.0\n")
    with pytest.raises(DataError, match=r"rates\.csv:2: rate_rps -2"):
        read_clients(rates, sample_path("servegen_tokens.csv"))
    write(rates, "client_id,t_s,rate_rps,iat_dist,iat_p1\n999,0,2,Gamma,1.0\n")
    with pytest.raises(DataError, match="client 999 lacks"):
        read_clients(rates, sample_path("servegen_tokens.csv"))


def test_formats_are_known_by_name(tmp_path):
    with pytest.raises(ConfigurationError, match="azure, servegen, mooncake, csv"):
        load_trace(tmp_path, "parquet", seed=1)
    assert len(load_trace(sample_path("azure_code.csv"), "azure", seed=1, duration_s=60)) < 300


def test_merged_traces_keep_every_request_and_its_tenant():
    one = from_columns([0, 10], [1, 2], [1, 1], tenants=("a", "b"), tenant=[0, 1], source="one")
    two = from_columns([5], [3], [1], tenants=("b",), source="two", block_tokens=8, blocks=[(7,)])
    merged = concatenate([one, two])
    assert merged.prompt_tokens.tolist() == [1, 3, 2]
    assert [merged.tenants[i] for i in merged.tenant] == ["a", "b", "b"]
    assert merged.blocks == ((), (7,), ())
    with pytest.raises(DataError, match="two and two"):
        concatenate([two, two])


def test_taking_out_of_order_is_refused_and_a_limit_shortens_only_the_long():
    trace = from_columns([0, 10, 20], [1, 2, 3], [5, 50, 500])
    with pytest.raises(DataError, match="sort"):
        take(trace, [2, 0])
    assert limit_output(trace, 60).output_tokens.tolist() == [5, 50, 60]
