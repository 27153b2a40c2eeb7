"""The engine that measurements run on: models in memory, one shared cache, one recorded iteration at a time."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import torch

from benchmarks.gpu.cells import Cell
from benchmarks.gpu.shapes import ModelShape
from benchmarks.gpu.torch_attention import choose_attention
from benchmarks.gpu.torch_batch import lay_out
from benchmarks.gpu.torch_model import Mix, choose_mix, draw_weights, forward, mix_by_expert
from benchmarks.gpu.work import Ceiling, Work
from schemas.errors import ConfigurationError

__all__ = ["TorchEngine", "cuda_uuid"]

_RESERVE_BYTES: Final = 6 * 2**30
"""Left for activations, graphs and workspaces: a chunk of 2,048 tokens over 256 rows needs under two."""
_CPU_CACHE_BYTES: Final = 2**24
_COPY_BYTES: Final = 2**30
_MATRIX: Final = 8192
_REPEATS: Final = 20


def cuda_uuid() -> str:
    """NVML's name for the GPU that CUDA counts first; opens a context."""
    return f"GPU-{torch.cuda.get_device_properties(0).uuid}"


class TorchEngine:
    """Models with drawn weights on one device; bf16 and CUDA graphs on a GPU, float32 and plain calls elsewhere."""

    def __init__(self, shapes: Sequence[ModelShape], device: str, seed: int, cache_tokens: int) -> None:
        """Load the models and take a cache of `cache_tokens` of the first, or as many as there is room for."""
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ConfigurationError(
                "--device cuda: PyTorch sees no GPU; --device cpu rehearses on a tiny model"
            )
        self._graphs = self._device.type == "cuda"
        self._dtype = torch.bfloat16 if self._graphs else torch.float32
        self._seed = seed
        torch.set_grad_enabled(False)
        self._weights = {s.name: draw_weights(s, self._device, self._dtype, seed) for s in shapes}
        self._values = self._draw_cache(shapes[0], cache_tokens)
        first = shapes[0]
        self._attention, self._attend = choose_attention(
            self._device, self._dtype, first.heads, first.kv_heads, first.head_dim
        )
        self._mixing, self._mix = self._choose_mix(shapes)
        self._graph: Any = None

    def _draw_cache(self, shape: ModelShape, tokens: int) -> Any:
        values = tokens * shape.kv_values_per_token
        width = torch.finfo(self._dtype).bits // 8
        free = torch.cuda.mem_get_info()[0] - _RESERVE_BYTES if self._graphs else _CPU_CACHE_BYTES
        values = min(values, max(free, 0) // width)
        generator = torch.Generator(device=self._device).manual_seed(self._seed)
        return torch.empty(values, device=self._device, dtype=self._dtype).normal_(generator=generator)

    def _choose_mix(self, shapes: Sequence[ModelShape]) -> tuple[str, Mix]:
        for shape in shapes:
            if shape.experts:
                routes = lay_out(((37, 0),), (0,), shape, self._device, self._seed).routes[0]
                return choose_mix(self._device, shape, self._weights[shape.name].layers[0], routes)
        return "none", mix_by_expert

    def kv_tokens(self, model: str) -> int:
        """Tokens that the cache holds for a model."""
        return int(self._values.numel()) // self._weights[model].shape.kv_values_per_token

    def prepare(self, cell: Cell) -> Work:
        """Lay out the cell's inputs, run it until it is warm, record it where the device can."""
        weights = self._weights[cell.model]
        shape = weights.shape
        tokens = self.kv_tokens(cell.model)
        cache = self._values[: tokens * shape.kv_values_per_token].view(
            shape.layers, 2, tokens, shape.kv_heads, shape.head_dim
        )
        inputs = lay_out(cell.rows, cell.requests, shape, self._device, self._seed)

        def once() -> Any:
            return forward(weights, inputs, cache, self._attend, self._mix)

        if not self._graphs:
            return _Plain(once)
        self._graph = None
        torch.cuda.empty_cache()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            once()
            logits = once()
        torch.cuda.current_stream().wait_stream(stream)
        if not bool(torch.isfinite(logits).all()):
            raise ConfigurationError(
                f"{cell.name}: logits are not finite; the forward pass is broken on this device"
            )
        del logits
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            once()
        return _Recorded(self._graph)

    def ceilings(self) -> Sequence[Ceiling]:
        """A large copy and a large matrix product on random data, timed by events."""
        if not self._graphs:
            return ()
        copy_s = self._copy_s()
        one, two = (
            torch.randn(_MATRIX, _MATRIX, device=self._device, dtype=torch.bfloat16) for _ in range(2)
        )
        product_s = _timed(lambda: one @ two)
        return (
            Ceiling(
                "copy_bytes_per_s", 2.0 * _COPY_BYTES / copy_s, "B/s", "read and written, device to device"
            ),
            Ceiling(
                "matmul_flops", 2.0 * _MATRIX**3 / product_s, "FLOP/s", f"bf16, {_MATRIX} cubed, random data"
            ),
        )

    def _copy_s(self) -> float:
        source = torch.empty(_COPY_BYTES // 2, device=self._device, dtype=torch.bfloat16).normal_()
        target = torch.empty_like(source)
        return _timed(lambda: target.copy_(source))

    def environment(self) -> Mapping[str, Any]:
        """Versions, precision, kernels, cache."""
        return {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "device": str(self._device),
            "precision": str(self._dtype).removeprefix("torch."),
            "graphs": self._graphs,
            "attention": self._attention,
            "mixture": self._mixing,
            "cache_tokens": {name: self.kv_tokens(name) for name in self._weights},
        }


class _Recorded:
    """A CUDA graph, replayed; events between bursts keep the time."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._ends: list[Any] = []
        self._finished = 0

    def submit(self, iterations: int) -> None:
        for _ in range(iterations):
            self._graph.replay()
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        self._ends.append(end)

    def finished(self) -> int:
        while self._finished < len(self._ends) and self._ends[self._finished].query():
            self._finished += 1
        return self._finished

    def seconds(self, first: int, last: int) -> float:
        return float(self._ends[first].elapsed_time(self._ends[last])) / 1000.0

    def drain(self) -> None:
        torch.cuda.synchronize()


class _Plain:
    """Calls one after the other in a thread of their own, so that they queue as on a GPU."""

    def __init__(self, once: Callable[[], Any]) -> None:
        self._once = once
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._bursts: list[Future[float]] = []

    def submit(self, iterations: int) -> None:
        self._bursts.append(self._thread.submit(self._run, iterations))

    def _run(self, iterations: int) -> float:
        # Whether gradients are recorded is each thread's own.
        with torch.inference_mode():
            for _ in range(iterations):
                self._once()
        return time.perf_counter()

    def finished(self) -> int:
        return sum(burst.done() for burst in self._bursts)

    def seconds(self, first: int, last: int) -> float:
        return self._bursts[last].result() - self._bursts[first].result()

    def drain(self) -> None:
        wait(self._bursts)
        for burst in self._bursts:
            burst.result()


def _timed(call: Callable[[], Any]) -> float:
    """Median seconds of a call by events, warm."""
    for _ in range(3):
        call()
    seconds = []
    for _ in range(_REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        seconds.append(float(begin.elapsed_time(end)) / 1000.0)
    return sorted(seconds)[len(seconds) // 2]
