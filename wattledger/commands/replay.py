"""`wattledger replay`: play a trace, or the demo fleet, through simulated engines into Kafka."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from producers.simulation.engine_types import engine_types
from producers.simulation.fleet import Fleet, simulate_fleet
from producers.simulation.presets import TRACE_FORMATS, demo_scenario, load_trace, trace_scenario
from producers.simulation.publish import Published, publish
from producers.simulation.scenario import Scenario
from producers.simulation.truth import truth_document
from schemas.errors import ConfigurationError
from schemas.signatures import load_signing_key, signer, unsigned
from wattledger import settings

__all__ = ["command"]


class Speed(click.ParamType):
    """A factor, or `max`, which is 0."""

    name = "factor|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A factor above 0, or 0 for `max`."""
        try:
            speed = 0.0 if value == "max" else float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor max", param, ctx)
        if not 0.0 <= speed < float("inf"):
            self.fail(f"{value} must be 0 (as fast as possible) or more", param, ctx)
        return speed


@click.command("replay")
@click.option(
    "--speed", type=Speed(), default="1", show_default=True, help="1: real time; max: as fast as possible."
)
@click.option("--trace", type=click.Path(path_type=Path), help="A trace instead of the demo fleet.")
@click.option("--format", "trace_format", type=click.Choice(TRACE_FORMATS), help="Of the trace.")
@click.option("--engine", type=click.Choice(tuple(engine_types())), help="Engine type for the trace.")
@click.option(
    "--nodes",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Nodes for the trace, one engine each.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Requests per second of a ServeGen trace.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    help="Seconds of event time.  [default: the trace's, the demo's]",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Of every draw: the same seed sends the same events.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the true joules to this JSON file.",
)
@click.option(
    "--node-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign as a node's agent would; the registry must allow the key all simulated nodes.",
)
@click.option("--json", "as_json", is_flag=True, help="Summary for programs.")
def command(
    speed: float,
    trace: Path | None,
    trace_format: str | None,
    engine: str | None,
    nodes: int,
    rate: float,
    duration: float | None,
    seed: int,
    truth: Path | None,
    node_key: Path | None,
    as_json: bool,
) -> None:
    """Play requests through simulated engines into Kafka.

    Without --trace it is the demo's fleet: two nodes, four engines, forty tenants. In real time events start
    now; faster, they end now.

    \b
    Examples:
      WATTLEDGER_KAFKA=broker:9092 wattledger replay --speed max --truth truth.json
      wattledger replay --trace azure.csv --format azure --engine llama-3.1-8b-h100 --nodes 4 --speed 10

    \b
    Formats:
      azure     CSV: TIMESTAMP, ContextTokens, GeneratedTokens
      servegen  a directory with servegen_rates.csv and servegen_tokens.csv
      mooncake  JSON lines: timestamp, input_length, output_length, hash_ids
      csv       CSV of your own: arrival_s, prompt_tokens, output_tokens, tenant
    """
    bootstrap = settings.load().require_kafka()
    fleet = simulate_fleet(
        _scenario(trace, trace_format, engine, nodes=nodes, rate=rate, duration=duration, seed=seed)
    )
    sign = signer(load_signing_key(node_key)) if node_key is not None else unsigned
    with _progress(fleet.end_us / 1e6, quiet=as_json) as tell:
        published = publish(fleet, bootstrap, speed=speed, progress=tell, sign=sign)
    if truth is not None:
        truth.write_text(json.dumps(truth_document(fleet, published.origin_ns)) + "\n", encoding="utf-8")
    click.echo(json.dumps(_summary(fleet, published), indent=2) if as_json else _sentence(fleet, published))


def _scenario(
    trace: Path | None,
    trace_format: str | None,
    engine: str | None,
    *,
    nodes: int,
    rate: float,
    duration: float | None,
    seed: int,
) -> Scenario:
    if trace is None:
        if trace_format or engine:
            raise ConfigurationError(
                "--format and --engine describe a trace: give --trace FILE, or leave them out"
            )
        return demo_scenario(duration_s=duration, seed=seed)
    if trace_format is None or engine is None:
        raise ConfigurationError("--trace needs --format and --engine; `wattledger replay --help` lists them")
    requests = load_trace(trace, trace_format, seed=seed, duration_s=duration, requests_per_s=rate)
    return trace_scenario(requests, engine, nodes=nodes, seed=seed)


@contextmanager
def _progress(event_s: float, *, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar on a terminal; elsewhere nothing, so that logs hold only the summary."""
    if quiet or not click.get_text_stream("stderr").isatty():
        yield None
        return
    with click.progressbar(
        length=1000, label=f"replaying {event_s:.0f} s", file=click.get_text_stream("stderr")
    ) as bar:

        def tell(done: float) -> None:
            bar.update(round(done * 1000) - bar.pos)

        yield tell


def _summary(fleet: Fleet, published: Published) -> dict[str, Any]:
    return {
        "origin_ns": published.origin_ns,
        "end_ns": published.end_ns,
        "messages": published.messages,
        "bytes": published.bytes,
        "elapsed_s": published.elapsed_s,
        "engines": len(fleet.engines),
        "requests": sum(len(run.log.requests) for run in fleet.engines),
        "request_iterations": fleet.request_iterations,
        "tenants": len(_tenants(fleet)),
    }


def _sentence(fleet: Fleet, published: Published) -> str:
    summary = _summary(fleet, published)
    event_s = (published.end_ns - published.origin_ns) / 1e9
    return (
        f"replayed {event_s:.0f} s of {summary['engines']} engines in {published.elapsed_s:.1f} s: "
        f"{summary['requests']} requests of {summary['tenants']} tenants, "
        f"{summary['request_iterations']} request-iterations, {published.messages} messages, "
        f"{published.bytes / 1e6:.2f} MB, all acknowledged"
    )


def _tenants(fleet: Fleet) -> set[str]:
    return {
        run.log.requests.tenants[i] for run in fleet.engines for i in set(run.log.requests.tenant.tolist())
    }
