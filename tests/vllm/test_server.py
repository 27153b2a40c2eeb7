"""A real vLLM server under concurrent streaming load: exact rows, the same outputs, and no word of any prompt."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from schemas.iterations import expand
from tests.hooks.fake_agent import FakeAgent
from tests.hooks.leaks import PLANTED, leaks, socket_layers
from tests.vllm.serve import Server, complete, serve

REQUESTS = 24
MIDDLEWARE = ("--middleware", "producers.hooks.middleware.TenantMiddleware")


def prompt(number: int) -> str:
    words = [f"w{3 + (number * 7 + place) % 480}" for place in range(20 + 9 * number)]
    return " ".join(words)


def ask(server: Server, number: int) -> dict[str, Any]:
    """Request `number`, the same whenever it is asked; a third each from two tenants and from nobody."""
    headers = {"x-tenant-id": ("acme", "globex")[number % 3]} if number % 3 < 2 else {}
    if number == 5:
        # Clients repeat ids, and try to name their own tenant.
        headers["x-request-id"] = "mine"
    body: dict[str, object] = {
        "prompt": prompt(number),
        "max_tokens": 5 + 3 * number,
        "temperature": 0,
        "ignore_eos": True,
        "vllm_xargs": {"wattledger_tenant": "forged:globex"},
    }
    return complete(server.url, body, headers)


def load(server: Server) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: ask(server, number), range(REQUESTS)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeAgent, list[dict[str, Any]]]]:
    """The load against a server with the hook, and the agent that heard of it."""
    folder = tmp_path_factory.mktemp("on")
    agent = FakeAgent(folder / "agent.sock")
    environment = {"WATTLEDGER_SOCKET": str(agent.path), "WATTLEDGER_FRAME_S": "0.2"}
    with serve(folder, *MIDDLEWARE, hook=True, environment=environment) as server:
        answers = load(server)
        complete(
            server.url,
            {
                "prompt": " ".join(f"w{token}" for token in PLANTED * 8),
                "max_tokens": 4,
                "temperature": 0,
                "ignore_eos": True,
            },
        )
        expected = sum(answer["usage"]["completion_tokens"] for answer in answers) + 4
        agent.wait_for(lambda: emitted(agent) >= expected, timeout_s=20)
    yield agent, answers
    agent.close()


def emitted(agent: FakeAgent) -> int:
    return sum(int(expand(frame).emitted.sum()) for frame in agent.frames)


def totals(agent: FakeAgent) -> dict[str, dict[str, Any]]:
    """Per response id: tokens by the rows."""
    found: dict[str, dict[str, Any]] = {}
    for frame in agent.frames:
        rows = expand(frame)
        for index, client in enumerate(frame.request_client_id):
            mine = rows.request == index
            entry = found.setdefault(
                client,
                {
                    "computed": 0,
                    "emitted": 0,
                    "prompt": int(frame.request_prompt_tokens[index]),
                    "cached": int(frame.request_cached_tokens[index]),
                    "tenant": frame.tenants[frame.request_tenant[index]],
                },
            )
            entry["computed"] += int(rows.new_tokens[mine].sum())
            entry["emitted"] += int(rows.emitted[mine].sum())
    return found


Run = tuple[FakeAgent, list[dict[str, Any]]]


def test_every_token_is_in_exactly_one_row_and_totals_are_the_servers_own(run: Run) -> None:
    agent, answers = run
    found = totals(agent)
    for answer in answers:
        usage, rows = answer["usage"], found[answer["id"]]
        assert rows["emitted"] == usage["completion_tokens"]
        assert rows["prompt"] == usage["prompt_tokens"]
        # The last token sampled is delivered and never computed on; async scheduling may compute one more.
        computed = usage["prompt_tokens"] + usage["completion_tokens"] - 1 - rows["cached"]
        assert rows["computed"] in (computed, computed + 1)


def test_tenants_are_the_trusted_headers_whatever_the_client_claims(run: Run) -> None:
    agent, answers = run
    found = totals(agent)
    tenants = [found[answer["id"]]["tenant"] for answer in answers]
    assert tenants == [("acme", "globex", "no-tenant")[number % 3] for number in range(REQUESTS)]


def test_the_model_load_is_told_before_its_requests_refer_to_it(run: Run) -> None:
    agent, _ = run
    assert [(load.kind, load.end_ns > 0) for load in agent.loads] == [
        ("model_load", False),
        ("model_load", True),
    ]
    load = agent.loads[-1]
    ordinals = []
    for frame in agent.frames:
        assert set(frame.loads) <= {load.load_id}
        ordinals += frame.request_load_ordinal.tolist()
    assert sorted(set(ordinals)) == list(range(1, REQUESTS + 2))


def test_no_word_and_no_token_of_a_prompt_or_an_answer_crosses_the_socket(run: Run) -> None:
    agent, answers = run
    words = [f"w{token}" for token in PLANTED]
    words += [*prompt(REQUESTS - 1).split()[:20], *str(answers[-1]["text"]).split()[:20]]
    assert leaks(socket_layers(bytes(agent.received)), PLANTED, words) == []
    # Answers as their ids, in every packing too.
    for answer in answers[-3:]:
        tokens = [int(word[1:]) for word in str(answer["text"]).split() if word[1:].isdigit()]
        if len(set(tokens[:8])) > 3:
            assert leaks(socket_layers(bytes(agent.received)), tokens[:8], []) == []


def test_outputs_are_byte_identical_without_the_hook(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, answers = run
    with serve(tmp_path_factory.mktemp("off"), hook=False) as server:
        plain = load(server)
    assert [answer["text"] for answer in plain] == [answer["text"] for answer in answers]
    assert [answer["usage"] for answer in plain] == [answer["usage"] for answer in answers]
