"""The transformers hook on the real library, on CPU: every token of every request in exactly one row."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from producers.hooks.transformers import register
from schemas.iterations import expand
from tests.hooks.fake_agent import FakeAgent
from tests.vllm.tiny_model import CONFIG


def test_rows_of_a_generated_batch_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = FakeAgent(tmp_path / "agent.sock")
    monkeypatch.setenv("WATTLEDGER_SOCKET", str(agent.path))
    monkeypatch.setenv("WATTLEDGER_FRAME_S", "0.1")
    assert register(lambda request_id: f"tenant-of-{request_id}")
    assert register(), "installing twice is harmless"
    torch.manual_seed(0)
    fields = {key: CONFIG[key] for key in CONFIG if key not in ("architectures", "model_type", "torch_dtype")}
    model = LlamaForCausalLM(LlamaConfig(**fields)).eval()
    prompts = [[3 + place for place in range(length)] for length in (5, 40, 90, 17)]
    outputs = model.generate_batch(
        inputs=prompts,
        generation_config=GenerationConfig(
            max_new_tokens=9, eos_token_id=-1, do_sample=False, use_cache=False
        ),
        # By default it takes nearly all of the machine's memory for its cache.
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=64, max_batch_tokens=256),
    )
    generated = {key: len(output.generated_tokens) for key, output in outputs.items()}
    assert sorted(generated.values()) == [9, 9, 9, 9]

    def emitted() -> int:
        return sum(int(expand(frame).emitted.sum()) for frame in agent.frames)

    agent.wait_for(lambda: emitted() >= sum(generated.values()))
    computed: dict[str, int] = {}
    delivered: dict[str, int] = {}
    contexts: dict[str, list[tuple[int, int]]] = {}
    prompt: dict[str, int] = {}
    for frame in agent.frames:
        rows = expand(frame)
        for index, client in enumerate(frame.request_client_id):
            mine = rows.request == index
            computed[client] = computed.get(client, 0) + int(rows.new_tokens[mine].sum())
            delivered[client] = delivered.get(client, 0) + int(rows.emitted[mine].sum())
            pairs = zip(rows.context_tokens[mine].tolist(), rows.new_tokens[mine].tolist(), strict=True)
            contexts.setdefault(client, []).extend(pairs)
            prompt[client] = int(frame.request_prompt_tokens[index])
            assert frame.tenants[frame.request_tenant[index]] == f"tenant-of-{client}"
    assert delivered == generated
    assert sorted(prompt.values()) == [5, 17, 40, 90]
    for client, pairs in contexts.items():
        # Contexts are contiguous from nothing, and the last token generated is never computed on.
        assert pairs[0][0] == 0
        assert all(before + tokens == after for (before, tokens), (after, _) in pairwise(pairs))
        assert computed[client] == prompt[client] + generated[client] - 1
    agent.close()
