"""`make demo-vllm`: a real vLLM on CPU with the hook, the node agent on a stub meter, Kafka, worker, ledger.

An OpenAI client's requests from three tenants must stand in the ledger with the token counts that the server
reported, and the books must close. Exit status 1 where they do not.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
from confluent_kafka import Consumer, TopicPartition

from schemas.topics import TOPICS
from streams.ledger import migrations
from streams.ledger.books import read_books
from streams.ledger.client import connect
from streams.ledger.transfers import cold_start_balance
from tests.hooks.leaks import PLANTED, leaks, topic_layers
from tests.meters import nvml_stub
from tests.rig.streams import ends
from wattledger.commands.books import print_books
from wattledger.demo import Run, begin_at_the_end, new_run
from wattledger.local.broker import broker
from wattledger.local.processes import end, spawn
from wattledger.local.worker import worker
from wattledger.topics_admin import create_topics

ROOT: Final = Path(__file__).resolve().parents[1]
VLLM_PYTHON: Final = ROOT / ".cache" / "vllm-venv" / "bin" / "python"
NODE: Final = "laptop"
WINDOW_S: Final = 5
PATIENCE_S: Final = 90.0

TOKENS: Final = """
SELECT tenant, sum(emitted_tokens), sum(energy_uj), uniqExact(ordinal)
FROM ledger WHERE account = 'request' AND engine_id = {engine:String} GROUP BY tenant ORDER BY tenant
"""


def main() -> int:
    """Run the demo; returns the exit status."""
    run = new_run(ROOT / "demo-out")
    client = connect(run.clickhouse)
    migrations.up(client)
    client.close()
    stub = nvml_stub.build(run.directory / "nvml")
    stub.write("uuid=GPU-stub-0 power_w=320", "uuid=GPU-stub-1 power_w=60")
    with ExitStack() as stack:
        kafka = stack.enter_context(broker(address=os.environ.get("WATTLEDGER_KAFKA")))
        say("Kafka", f"{kafka.kind} at {kafka.bootstrap}")
        create_topics(kafka.bootstrap, partitions=4)
        begin_at_the_end(kafka.bootstrap, run.name)
        begins = ends(kafka.bootstrap, [topic.name for topic in TOPICS])
        options = ["--group", run.name, "--window", str(WINDOW_S)]
        child = stack.enter_context(
            worker(kafka=kafka.bootstrap, clickhouse=run.clickhouse, log=run.log, options=options)
        )
        agent = start_agent(run, stub, kafka.bootstrap)
        stack.callback(end, agent)
        say(
            "Agent", "one GPU at 320 W and a spare one at 60 W, by a stub libnvidia-ml below the real binding"
        )
        engine = start_engine(run)
        assert engine.stdout is not None
        assert engine.stdin is not None
        stack.callback(engine.wait, 90)
        stack.callback(engine.stdin.close)
        say("vLLM", "starting on CPU (a minute or two)")
        line = engine.stdout.readline()
        if not line:
            say("vLLM", f"ended early; see {run.directory}")
            return 1
        usage = json.loads(line)
        until_s = time.time() + WINDOW_S
        say(
            "vLLM",
            f"answered {sum(tenant['requests'] for tenant in usage.values())} requests of {len(usage)} tenants",
        )
        deadline = time.monotonic() + PATIENCE_S
        while (progress := child.progress()) is None or progress.sealed_until_s < until_s:
            if time.monotonic() > deadline:
                say("Worker", f"has not sealed what was served; see {run.log}")
                return 1
            time.sleep(0.5)
        say(
            "Booked",
            f"{progress.batches} batches, {progress.energy_j:,.0f} J, {progress.dead_letters} dead letters",
        )
        child.ask_to_stop()
        child.process.wait()
        messages = messages_since(kafka.bootstrap, begins)
    found = leaks(topic_layers(messages), PLANTED, [f"w{token}" for token in PLANTED])
    clean = bool(messages) and not found
    say(
        "Privacy",
        f"no word and no token of any prompt is in any of {len(messages)} messages, unpacked"
        if clean
        else (found or ["the broker gave no message to look at"])[0],
    )
    return answer(run, usage) or int(not clean)


def start_agent(run: Run, stub: nvml_stub.NvmlStub, kafka: str) -> "subprocess.Popen[bytes]":
    """`wattledger agent` on the stub's GPU."""
    environment = {**stub.environment(), "WATTLEDGER_KAFKA": kafka}
    command = [
        sys.executable, "-m", "wattledger", "agent", "--cluster", run.name, "--node", NODE, "--zone", "DE",
        "--socket", str(socket_of(run)), "--spool", str(run.directory / "spool.db"), "--metrics-port", "0",
    ]  # fmt: skip
    with (run.directory / "agent.log").open("wb") as log:
        process = spawn(command, output=log, env=environment)
    while not socket_of(run).exists() and process.poll() is None:
        time.sleep(0.1)
    return process


def start_engine(run: Run) -> "subprocess.Popen[str]":
    """The server and its client, in vLLM's environment."""
    environment = {
        **os.environ,
        "WATTLEDGER_SOCKET": str(socket_of(run)),
        "WATTLEDGER_GPU_UUIDS": "GPU-stub-0",
        "WATTLEDGER_ENGINE": "tiny",
    }
    folder = run.directory / "vllm"
    folder.mkdir()
    return subprocess.Popen(
        [str(VLLM_PYTHON), str(ROOT / "tools" / "demo_vllm_client.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )


def socket_of(run: Run) -> Path:
    """The agent's socket; short, because a Unix socket's path holds 107 characters."""
    return run.directory / "a.sock"


def answer(run: Run, usage: dict[str, Any]) -> int:
    """Compare the ledger with the server's usage figures and print the books."""
    client = connect(run.clickhouse)
    try:
        rows = client.query(TOKENS, parameters={"engine": f"{run.name}/{NODE}/tiny"}).result_rows
        books = read_books(client)
        print_books(books, cold_start_balance(client))
    finally:
        client.close()
    click.echo(f"\n{'tenant':<12}{'requests':>10}{'tokens':>10}{'server says':>14}{'J':>12}")
    exact = len(rows) == len(usage)
    for tenant, emitted, energy_uj, requests in rows:
        said = usage.get(tenant, {"completion": 0, "requests": 0})
        exact = exact and emitted == said["completion"] and requests == said["requests"]
        click.echo(
            f"{tenant:<12}{requests:>10}{emitted:>10}{said['completion']:>14}{energy_uj / 1e6:>12,.1f}"
        )
    say("Tokens", "as the server counted them" if exact else "NOT as the server counted them")
    say("Books", "close" if books.closes else "DO NOT CLOSE")
    return 0 if exact and books.closes else 1


def messages_since(bootstrap: str, begins: Mapping[tuple[str, int], int]) -> list[tuple[bytes, bytes]]:
    """Key and value of every message since `begins`."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "demo-vllm", "enable.partition.eof": True}
    )
    messages = []
    for (topic, partition), begin in begins.items():
        consumer.assign([TopicPartition(topic, partition, begin)])
        while (message := consumer.poll(20)) is not None and not message.error():
            messages.append((message.key() or b"", message.value() or b""))
    consumer.close()
    return messages


def say(what: str, line: str) -> None:
    """One line of progress."""
    click.echo(f"{what:>10}  {line}")


if __name__ == "__main__":
    sys.exit(main())
