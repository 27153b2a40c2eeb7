"""Inter-token latency with the hook and without: two real servers, the same load in turns, in one run.

    .cache/vllm-venv/bin/python benchmarks/hook_latency.py [--rounds 20] [--seconds 180]   (or: make bench-hook)

A GPU's iteration takes tens of milliseconds; the tiny model's on a CPU takes a few, so whatever the hook adds
shows larger here. Rounds alternate, on first in one pair and off first in the next, because a shared machine
drifts by more than the hook costs; each pair gives one difference. The noise is how far rounds of one kind lie
from each other, and the hook shows only where the median difference is beyond two of its standard errors. On a slow
machine the time ends the rounds, not their number.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.hooks.fake_agent import FakeAgent  # noqa: E402 - after the path is set
from tests.vllm.serve import MODEL, serve  # noqa: E402

CLIENTS = 8
TOKENS = 96
MIN_ROUNDS = 4
"""Below, a spread says nothing."""
PROMPT = " ".join(f"w{3 + place}" for place in range(40))


def gaps_s(url: str, client: int) -> list[float]:
    """Seconds between the tokens of one streamed answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    body = {
        "model": MODEL, "prompt": f"w{9 + client} {PROMPT}", "max_tokens": TOKENS, "temperature": 0,
        "ignore_eos": True, "stream": True,
    }  # fmt: skip
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    times = []
    while line := response.readline():
        if line.startswith(b"data: {"):
            times.append(time.perf_counter())
    connection.close()
    return [after - before for before, after in pairwise(times)]


def turn(url: str) -> list[float]:
    """All gaps of one round."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return [gap for gaps in pool.map(lambda client: gaps_s(url, client), range(CLIENTS)) for gap in gaps]


def percentile_ms(gaps: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(gaps)[int(share * (len(gaps) - 1))] * 1e3


def compared(on: list[list[float]], off: list[list[float]], share: float) -> dict[str, float]:
    """One percentile with and without the hook, and the differences of the pairs."""
    with_ms = [percentile_ms(gaps, share) for gaps in on]
    without_ms = [percentile_ms(gaps, share) for gaps in off]
    pairs = [a - b for a, b in zip(with_ms, without_ms, strict=True)]
    quarter, _, three_quarters = statistics.quantiles(pairs, n=4)
    return {
        "off_ms": round(statistics.median(without_ms), 3),
        "on_ms": round(statistics.median(with_ms), 3),
        "spread_between_rounds_off_ms": round(statistics.stdev(without_ms), 3),
        "spread_between_rounds_on_ms": round(statistics.stdev(with_ms), 3),
        "median_difference_ms": round(statistics.median(pairs), 3),
        # Of a median, by the pairs' middle half: a round that the machine stalled in must not decide it.
        "standard_error_ms": round(1.253 * (three_quarters - quarter) / 1.349 / len(pairs) ** 0.5, 3),
    }


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180, help="of rounds, after the servers' start")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="wattledger-latency-"))
    agent = FakeAgent(folder / "agent.sock")
    environment = {"WATTLEDGER_SOCKET": str(agent.path)}
    (folder / "on").mkdir()
    (folder / "off").mkdir()
    with (
        serve(folder / "on", hook=True, environment=environment) as with_hook,
        serve(folder / "off", hook=False) as without,
    ):
        for server in (with_hook, without):
            turn(server.url)
        on: list[list[float]] = []
        off: list[list[float]] = []
        until = time.monotonic() + arguments.seconds
        for number in range(arguments.rounds):
            if number >= MIN_ROUNDS and time.monotonic() > until:
                break
            order = [(on, with_hook), (off, without)]
            for into, server in order if number % 2 else reversed(order):
                into.append(turn(server.url))
    assert agent.messages, "the hook recorded nothing"
    print(
        json.dumps(
            {
                "clients": CLIENTS,
                "tokens_of_each": CLIENTS * TOKENS * len(on),
                "pairs_of_rounds": len(on),
                "p50": compared(on, off, 0.5),
                "p99": compared(on, off, 0.99),
                "frames_of_the_hook": len(agent.messages),
                "hook_switched_itself_off": bool(agent.offs),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
