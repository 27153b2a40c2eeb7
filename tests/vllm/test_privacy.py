"""No token of any prompt or answer leaves the engine's process; a hook that leaked one would be found out."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from producers.hooks import vllm as plugin
from producers.hooks import vllm_tap
from tests.hooks.fake_agent import FakeAgent
from tests.hooks.leaks import PLANTED, leaks, socket_layers
from tests.vllm.scheduler_rig import make_rig


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    agent = FakeAgent(tmp_path / "agent.sock")
    monkeypatch.setenv("WATTLEDGER_SOCKET", str(agent.path))
    monkeypatch.setenv("WATTLEDGER_FRAME_S", "0.05")
    plugin.register()
    yield agent
    agent.close()


def found(agent: FakeAgent, folder: Path, *, asynchronous: bool = False, drafts: int = 0) -> list[str]:
    """What the search finds of a load whose tokens are planted: down prompts and answers, and across requests."""
    rig = make_rig(folder, asynchronous=asynchronous, drafts=drafts, budget=64)
    rig.answer = PLANTED
    for number in range(8):
        prompt = [PLANTED[(number + place) % 8] for place in range(20 + 4 * number)]
        rig.submit(f"r{number}", prompt, max_tokens=24, salt="s3cret-salt" if number % 2 else None)
    rig.run()
    recorder = getattr(rig.scheduler, plugin.TAP).recorder
    agent.wait_for(lambda: sum(len(f.iteration_start_ns) for f in agent.frames) >= rig.iterations)
    assert recorder.on
    recorder.stop()
    return leaks(socket_layers(bytes(agent.received)), PLANTED, ["s3cret-salt"])


@pytest.mark.parametrize(("asynchronous", "drafts"), [(False, 0), (True, 0), (False, 3)])
def test_no_planted_token_is_found_in_anything_that_crosses_the_socket(
    agent: FakeAgent, tmp_path: Path, asynchronous: bool, drafts: int
) -> None:
    assert found(agent, tmp_path / "model", asynchronous=asynchronous, drafts=drafts) == []


def tokens_of(request: Any) -> list[int]:
    return list(request.prompt_token_ids)


ADMISSION_MUTANTS: dict[str, Callable[[Any, Any], Any]] = {
    "ids in the client's id": lambda a, r: replace(a, client_id="-".join(map(str, tokens_of(r)))),
    "packed ids as a tenant": lambda a, r: replace(a, tenant=struct.pack("<8H", *tokens_of(r)[:8]).hex()),
    "four ids as the prefix group": lambda a, r: replace(
        a, prefix_group=int.from_bytes(struct.pack("<4H", *tokens_of(r)[:4]), "little")
    ),
    "one id per request as its length": lambda a, r: replace(
        a, prompt_tokens=tokens_of(r)[0], cached_tokens=0
    ),
    "ids as characters of an adapter": lambda a, r: replace(a, adapter="".join(map(chr, tokens_of(r)[:8]))),
    "the salt itself": lambda a, r: replace(a, tenant=r.cache_salt or "none"),
}


@pytest.mark.parametrize("mutant", ADMISSION_MUTANTS)
def test_a_hook_that_leaks_a_prompt_is_found_out(
    agent: FakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    sound = vllm_tap.VllmTranslator._admission

    def leaking(self: Any, request: Any, context: int) -> Any:
        return ADMISSION_MUTANTS[mutant](sound(self, request, context), request)

    monkeypatch.setattr(vllm_tap.VllmTranslator, "_admission", leaking)
    assert found(agent, tmp_path / "model")


def test_a_hook_that_leaks_an_answer_token_by_token_is_found_out(
    agent: FakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = vllm_tap.settle

    def leaking(passed: Any, output: Any, delivered: Any, *, continues: bool) -> None:
        sound(passed, output, delivered, continues=continues)
        sampled = [tokens for tokens in output.sampled_token_ids if tokens]
        passed.padded = sampled[0][0] if sampled else 0

    monkeypatch.setattr(vllm_tap, "settle", leaking)
    assert found(agent, tmp_path / "model")
