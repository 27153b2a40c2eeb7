"""The hook in a whole vLLM engine on CPU, in this process: adapters, sleep and wake-up, dummy batches, facts.

These tests come before those that decode a frame: vLLM 0.32 looks through every loaded module when an engine
starts, and fails on llvmlite's, which Numba brings.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from producers.hooks import vllm as plugin
from schemas.iterations import DUMMY, IterationFrame, expand
from tests.hooks.fake_agent import FakeAgent
from tests.vllm.tiny_model import CONFIG, write_tiny_model

RANK = 4
ANSWER = 6


def write_adapter(folder: Path, seed: int) -> Path:
    """A LoRA adapter of the tiny model's query and value matrices."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(2):
        for name, width in (("q_proj", 128), ("v_proj", 64)):
            begin = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{begin}.lora_A.weight"] = torch.randn(RANK, 128, generator=generator)
            weights[f"{begin}.lora_B.weight"] = torch.randn(width, RANK, generator=generator)
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


class Engine:
    """A vLLM engine, and the agent that hears its hook."""

    def __init__(self, folder: Path, agent: FakeAgent) -> None:
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        self.agent = agent
        self.adapters = [
            LoRARequest(name, number, str(write_adapter(folder / name, number)))
            for number, name in enumerate(("sql", "chat"), 1)
        ]
        self.llm = LLM(
            model=str(write_tiny_model(folder / "model")),
            load_format="dummy",
            skip_tokenizer_init=True,
            enforce_eager=True,
            max_model_len=512,
            max_num_seqs=8,
            enable_lora=True,
            max_lora_rank=8,
            max_loras=2,
            enable_prefix_caching=False,
        )
        self.core: Any = self.llm.llm_engine.engine_core.engine_core
        self.recorder = getattr(self.core.scheduler, plugin.TAP).recorder

    def late(self, name: str = "late", number: int = 3) -> Any:
        """An adapter that the engine was not begun with."""
        from vllm.lora.request import LoRARequest

        folder = Path(self.adapters[0].lora_path).parent / name
        return LoRARequest(name, number, str(write_adapter(folder, number)))

    def generate(self, prompts: list[list[int]], adapters: list[Any]) -> list[Any]:
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=ANSWER, temperature=0, ignore_eos=True, detokenize=False)
        return self.llm.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts],
            parameters,
            lora_request=adapters,
            use_tqdm=False,
        )

    def frames(self, tokens: int) -> list[IterationFrame]:
        """Everything recorded, once so many tokens were delivered in all."""
        self.agent.wait_for(lambda: emitted(self.agent) >= tokens, timeout_s=30)
        assert self.recorder.on
        return self.agent.frames


def emitted(agent: FakeAgent) -> int:
    return sum(int(expand(frame).emitted.sum()) for frame in agent.frames)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    agent = FakeAgent(folder / "agent.sock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTLEDGER_SOCKET", str(agent.path))
        patch.setenv("WATTLEDGER_FRAME_S", "0.1")
        patch.setenv("WATTLEDGER_TENANT_FROM", "lora")
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_PLUGINS", "")
        plugin.register()
        yield Engine(folder, agent)
    agent.close()


def test_the_engine_tells_the_size_of_its_model(engine: Engine) -> None:
    facts = engine.agent.hellos[0].facts
    # By hand, from the configuration: two layers, and the output matrix; the embedding is looked up.
    attention = 128 * 64 * 2 * (2 + 1)
    layer = attention + 3 * 128 * 256 + 2 * 128
    assert facts.weight_bytes == 2 * (2 * layer + 128 + 128 * int(str(CONFIG["vocab_size"])))
    assert facts.kv_bytes_per_token == 2 * (2 * 2 * 1 * 64)
    assert (facts.experts_total, facts.expert_weight_bytes) == (0, 0)


def test_the_model_load_and_the_first_request_under_it(engine: Engine) -> None:
    engine.generate([[5] * 20], [None])
    frames = engine.frames(ANSWER)
    assert [(load.kind, load.end_ns > 0) for load in engine.agent.loads[:2]] == [
        ("model_load", False), ("model_load", True),
    ]  # fmt: skip
    first = next(frame for frame in frames if frame.request_client_id)
    assert first.loads == (engine.agent.loads[0].load_id,)
    assert first.request_load_ordinal.tolist() == [1]


def test_adapters_of_one_batch_are_told_apart_and_their_tokens_are_exact(engine: Engine) -> None:
    before = emitted(engine.agent)
    sql, chat = engine.adapters
    prompts = [[9 + number] * (10 + number) for number in range(6)]
    outputs = engine.generate(prompts, [sql, chat, None, sql, chat, None])
    frames = engine.frames(before + 6 * ANSWER)
    found: dict[int, list[Any]] = {}
    for frame in frames:
        rows = expand(frame)
        for index, ordinal in enumerate(frame.request_ordinal.tolist()):
            mine = rows.request == index
            adapter = int(frame.request_adapter[index])
            name = frame.adapters[adapter] if adapter >= 0 else ""
            entry = found.setdefault(
                ordinal,
                [
                    name,
                    frame.tenants[frame.request_tenant[index]],
                    int(frame.request_prompt_tokens[index]),
                    0,
                    0,
                ],
            )
            entry[3] += int(rows.new_tokens[mine].sum())
            entry[4] += int(rows.emitted[mine].sum())
    # A batch holds two adapters, so requests may run in another order than they came; prompts tell them apart.
    mine = sorted((found[ordinal] for ordinal in sorted(found)[-6:]), key=lambda entry: int(entry[2]))
    assert [entry[0] for entry in mine] == ["sql", "chat", "", "sql", "chat", ""]
    assert [entry[1] for entry in mine] == ["sql", "chat", "no-tenant", "sql", "chat", "no-tenant"]
    assert [entry[2] for entry in mine] == [len(prompt) for prompt in prompts]
    assert [entry[3] for entry in mine] == [len(prompt) + ANSWER - 1 for prompt in prompts]
    assert [entry[4] for entry in mine] == [len(output.outputs[0].token_ids) for output in outputs]


def test_an_adapters_load_is_an_event_and_counts_the_requests_after_it(engine: Engine) -> None:
    before = emitted(engine.agent)
    late = engine.late()
    assert engine.core.add_lora(late)
    engine.generate([[7] * 12, [8] * 12], [late, late])
    frames = engine.frames(before + 2 * ANSWER)
    loads = [load for load in engine.agent.loads if load.kind == "adapter_load"]
    assert [(load.what, load.end_ns > 0) for load in loads] == [("late", False), ("late", True)]
    under = [
        int(frame.request_load_ordinal[index])
        for frame in frames
        for index in range(len(frame.request_ordinal))
        if frame.request_load[index] >= 0 and frame.loads[frame.request_load[index]] == loads[0].load_id
    ]
    assert sorted(set(under)) == [1, 2]


def told_unloaded(engine: Engine, name: str) -> bool:
    loads = [load for load in engine.agent.loads if load.what == name]
    return bool(loads) and loads[-1].kind == "unload"


def test_an_adapter_that_is_removed_is_unloaded_and_its_next_load_is_another(engine: Engine) -> None:
    engine.agent.wait_for(lambda: sum(load.what == "late" for load in engine.agent.loads) == 2, timeout_s=30)
    assert engine.core.remove_lora(3)
    engine.agent.wait_for(lambda: told_unloaded(engine, "late"), timeout_s=30)
    assert not engine.core.remove_lora(3)
    late = engine.late()
    assert engine.core.add_lora(late)
    engine.agent.wait_for(lambda: sum(load.what == "late" for load in engine.agent.loads) == 5, timeout_s=30)
    loads = [load for load in engine.agent.loads if load.what == "late"]
    kinds = ["adapter_load", "adapter_load", "unload", "adapter_load", "adapter_load"]
    assert [load.kind for load in loads] == kinds
    assert len({load.load_id for load in loads}) == 3
    assert loads[1].end_ns <= loads[2].start_ns <= loads[3].start_ns


def test_an_adapter_that_others_drive_out_is_unloaded(engine: Engine) -> None:
    for number, name in ((4, "third"), (5, "fourth")):
        assert engine.core.add_lora(engine.late(name, number))
    engine.agent.wait_for(lambda: told_unloaded(engine, "late"), timeout_s=30)
    assert not told_unloaded(engine, "third")
    assert engine.core.list_loras() == {4, 5}


def test_sleep_and_wake_up_are_a_load_whose_requests_are_counted_anew(engine: Engine) -> None:
    before = emitted(engine.agent)
    engine.core.sleep(level=1)
    assert engine.core.is_sleeping()
    engine.core.wake_up()
    engine.generate([[3] * 9], [None])
    frames = engine.frames(before + ANSWER)
    woken = [load for load in engine.agent.loads if load.kind == "wake_up"]
    assert [load.end_ns > 0 for load in woken] == [False, True]
    # Who was counted under the load before is no more: the model had given its memory back.
    kinds = [load.kind for load in engine.agent.loads if load.what == woken[0].what]
    assert kinds == ["model_load", "model_load", "unload", "wake_up", "wake_up"]
    last = [frame for frame in frames if frame.request_client_id][-1]
    assert last.loads == (woken[0].load_id,)
    assert last.request_load_ordinal.tolist() == [1]


def test_dummy_batches_are_iterations_without_rows(engine: Engine) -> None:
    for _ in range(3):
        engine.core.execute_dummy_batch()

    def dummies() -> list[IterationFrame]:
        return [frame for frame in engine.agent.frames if DUMMY in frame.iteration_kind.tolist()]

    engine.agent.wait_for(lambda: sum(f.iteration_kind.tolist().count(DUMMY) for f in dummies()) == 3)
    for frame in dummies():
        assert (frame.iteration_end_ns > frame.iteration_start_ns).all()
        assert len(frame.span_request) == 0
    assert engine.recorder.on
