"""A real `vllm serve` of the tiny model on CPU, with or without the hook, as a context manager."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.vllm.tiny_model import write_tiny_model

MODEL = "tiny"
START_S = 600
"""Half a minute on an idle machine; a busy one is no failure."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    url: str
    log: Path


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer of the tiny model's 512 tokens: `w17` is token 17."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, 512)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def write_version(folder: Path) -> None:
    """`vllm serve` asks for a distribution named vllm, which the CPU wheel is not."""
    info = folder / "vllm-0.32.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")


@contextlib.contextmanager
def serve(
    folder: Path, *arguments: str, hook: bool, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start the server and wait until it answers; AssertionError with the end of its log if it does not."""
    model = write_tiny_model(folder / "model")
    write_tokenizer(model)
    write_version(folder / "path")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / f"serve-{'on' if hook else 'off'}.log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", MODEL,
        "--load-format", "dummy", "--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "32",
        "--max-num-batched-tokens", "512", "--seed", "0", "--host", "127.0.0.1", "--port", str(port), *arguments,
    ]  # fmt: skip
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "path"), str(Path(__file__).parents[2])]),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_PLUGINS": "wattledger" if hook else "",
        **(environment or {}),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process, log)
        yield Server(url, log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(log.read_text(errors="replace")[-4000:])
        time.sleep(0.5)


def complete(url: str, body: dict[str, object], headers: dict[str, str] | None = None) -> dict[str, object]:
    """One completion, streamed: its text, its id and the server's own usage figures."""
    request = urllib.request.Request(
        f"{url}/v1/completions",
        json.dumps(
            {**body, "model": MODEL, "stream": True, "stream_options": {"include_usage": True}}
        ).encode(),
        {"content-type": "application/json", **(headers or {})},
    )
    found: dict[str, object] = {"text": "", "usage": None, "id": None}
    with urllib.request.urlopen(request, timeout=120) as response:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            found["id"] = event["id"]
            found["usage"] = event.get("usage") or found["usage"]
            for choice in event["choices"]:
                found["text"] = str(found["text"]) + choice["text"]
    return found
