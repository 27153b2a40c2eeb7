"""The measured model computes what a transformer computes, in any company. `make test-gpu` runs this."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.gpu.__main__ import plan_for  # noqa: E402
from benchmarks.gpu.cells import Cell, coalition_cells  # noqa: E402
from benchmarks.gpu.settings import Settings  # noqa: E402
from benchmarks.gpu.shapes import TINY_DENSE, TINY_MOE  # noqa: E402
from benchmarks.gpu.torch_attention import pack, per_request  # noqa: E402
from benchmarks.gpu.torch_batch import lay_out  # noqa: E402
from benchmarks.gpu.torch_engine import TorchEngine  # noqa: E402
from benchmarks.gpu.torch_model import draw_weights, forward, mix_by_expert, mix_grouped  # noqa: E402

CPU = torch.device("cpu")
SHAPES = pytest.mark.parametrize("shape", [TINY_DENSE, TINY_MOE], ids=lambda shape: shape.name)


def cache_for(shape, slots=64):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(shape.layers, 2, slots, shape.kv_heads, shape.head_dim, generator=generator)


def logits_of(weights, rows, cache, requests):
    inputs = lay_out(rows, requests, weights.shape, CPU, seed=3)
    return forward(weights, inputs, cache, per_request, mix_by_expert)


def test_a_prompt_in_one_piece_and_in_two_chunks_ends_in_the_same_logits():
    weights = draw_weights(TINY_DENSE, CPU, torch.float32, seed=1)
    inputs = lay_out(((12, 0),), (0,), TINY_DENSE, CPU, seed=3)
    whole = forward(weights, inputs, cache_for(TINY_DENSE), per_request, mix_by_expert)
    cache = cache_for(TINY_DENSE)
    for rows, part in ((((7, 0),), slice(0, 7)), (((5, 7),), slice(7, 12))):
        chunk = lay_out(rows, (0,), TINY_DENSE, CPU, seed=3)
        chunk.tokens.copy_(inputs.tokens[part])
        logits = forward(weights, chunk, cache, per_request, mix_by_expert)
    assert torch.allclose(logits, whole, atol=1e-5)


@SHAPES
def test_a_request_gets_the_same_logits_alone_and_in_company(shape):
    weights = draw_weights(shape, CPU, torch.float32, seed=1)
    rows = ((1, 9), (4, 6), (1, 3))
    # In the cache the decode rows come first: 10 slots, then 4, then the chunk's 10.
    starts, lengths, place = (0, 14, 10), (10, 10, 4), (0, 2, 1)
    together = logits_of(weights, rows, cache_for(shape), (0, 1, 2))
    for request in range(3):
        alone = cache_for(shape)
        end = starts[request] + lengths[request]
        alone[:, :, : lengths[request]] = cache_for(shape)[:, :, starts[request] : end]
        own = logits_of(weights, (rows[request],), alone, (request,))
        assert torch.allclose(own[0], together[place[request]], atol=1e-5)


def test_the_dense_model_is_the_llama_of_transformers():
    transformers = pytest.importorskip("transformers")
    shape = TINY_DENSE
    weights = draw_weights(shape, CPU, torch.float32, seed=1)
    config = transformers.LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, rms_norm_eps=torch.finfo(torch.float32).eps, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0}, attn_implementation="eager",
    )  # fmt: skip
    llama = transformers.LlamaForCausalLM(config).eval()
    heads = [count * shape.head_dim for count in (shape.heads, shape.kv_heads, shape.kv_heads)]
    with torch.no_grad():
        llama.model.embed_tokens.weight.copy_(weights.embedding)
        llama.lm_head.weight.copy_(weights.head.T)
        for theirs, ours in zip(llama.model.layers, weights.layers, strict=True):
            parts = ours.qkv.split(heads, dim=1)
            names = ("q_proj", "k_proj", "v_proj")
            for name, matrix in zip(names, parts, strict=True):
                getattr(theirs.self_attn, name).weight.copy_(matrix.T)
            theirs.self_attn.o_proj.weight.copy_(ours.out.T)
            gate, up = ours.gate_up.chunk(2, dim=1)
            theirs.mlp.gate_proj.weight.copy_(gate.T)
            theirs.mlp.up_proj.weight.copy_(up.T)
            theirs.mlp.down_proj.weight.copy_(ours.down.T)
        inputs = lay_out(((11, 0),), (0,), shape, CPU, seed=3)
        expected = llama(inputs.tokens[None]).logits[0, -1]
        found = forward(weights, inputs, cache_for(shape), per_request, mix_by_expert)[0]
    assert torch.allclose(found, expected, atol=1e-4)


def test_attention_is_a_softmax_over_what_came_before():
    generator = torch.Generator().manual_seed(5)
    packing = pack((3, 1), (2, 6), CPU)
    q = torch.randn(4, 4, 8, generator=generator)
    k, v = (torch.randn(12, 2, 8, generator=generator) for _ in range(2))
    found = per_request(q, k, v, packing)
    # (query row, its first key, keys that it sees)
    for row, first, seen in ((0, 0, 3), (1, 0, 4), (2, 0, 5), (3, 5, 7)):
        for head in range(4):
            keys, values = (t[first : first + seen, head // 2] for t in (k, v))
            weights = torch.softmax(keys @ q[row, head] / 8**0.5, dim=0)
            assert torch.allclose(found[row, head], weights @ values, atol=1e-6)


def test_experts_average_what_each_chosen_expert_says():
    weights = draw_weights(TINY_MOE, CPU, torch.float32, seed=1)
    routes = lay_out(((5, 0),), (0,), TINY_MOE, CPU, seed=3).routes[0]
    layer = weights.layers[0]
    x = torch.randn(5, TINY_MOE.hidden, generator=torch.Generator().manual_seed(2))
    found = mix_by_expert(x, layer, routes)
    expected = torch.zeros_like(x)
    first = 0
    for expert, end in enumerate(routes.host_ends):
        for token in routes.order[first:end].tolist():
            gate, up = (x[token] @ layer.gate_up[expert]).chunk(2)
            answer = (torch.nn.functional.silu(gate) * up) @ layer.down[expert]
            expected[token] += answer / TINY_MOE.experts_active
        first = end
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_token_takes_different_experts_and_the_same_ones_in_any_company():
    alone = lay_out(((6, 0),), (2,), TINY_MOE, CPU, seed=3)
    joined = lay_out(((1, 4), (6, 0)), (0, 2), TINY_MOE, CPU, seed=3)
    for routes, other in zip(alone.routes, joined.routes, strict=True):
        mine, theirs = _experts(routes), _experts(other)
        assert all(len(chosen) == TINY_MOE.experts_active for chosen in mine.values())
        assert {token + 1: chosen for token, chosen in mine.items()} == {
            token: chosen for token, chosen in theirs.items() if token >= 1
        }


def _experts(routes):
    ends = np.array(routes.host_ends)
    found: dict[int, set[int]] = {}
    for place, token in enumerate(routes.order.tolist()):
        found.setdefault(token, set()).add(int(np.searchsorted(ends, place, side="right")))
    return found


def test_every_cell_of_the_rehearsal_runs_on_a_cpu():
    plan, shapes = plan_for("cpu", Settings())
    engine = TorchEngine(shapes, "cpu", 1, 20_000)
    batches = [coalition_cells(batch)[-1] for batch in plan.batches]
    largest = max(plan.grid, key=lambda cell: cell.new_tokens)
    for cell in (
        *plan.loads,
        plan.reference,
        largest,
        *batches,
        Cell("one", "grid", shapes[1].name, ((1, 0),)),
    ):
        work = engine.prepare(cell)
        work.submit(1)
        work.drain()
        assert work.finished() == 1


def test_the_grouped_product_and_the_loop_over_experts_agree():
    weights = draw_weights(TINY_MOE, CPU, torch.bfloat16, seed=1)
    routes = lay_out(((9, 0),), (0,), TINY_MOE, CPU, seed=3).routes[0]
    x = torch.randn(9, TINY_MOE.hidden, generator=torch.Generator().manual_seed(2)).bfloat16()
    one, other = (mix(x, weights.layers[0], routes) for mix in (mix_grouped, mix_by_expert))
    assert float((one - other).norm() / other.norm()) < 0.02
