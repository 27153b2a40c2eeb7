"""`wattledger topics`: create the Kafka topics as declared, or say how they differ."""

import json

import click

from wattledger import settings
from wattledger.topics_admin import check_topics, create_topics

__all__ = ["command"]


@click.group("topics")
def command() -> None:
    """Create the Kafka topics as declared in schemas/topics, or say how they differ.

    \b
    Example:
      WATTLEDGER_KAFKA=broker:9092 wattledger topics create
      WATTLEDGER_KAFKA=broker:9092 wattledger topics check --json
    """


@command.command("create")
@click.option(
    "--partitions", type=click.IntRange(1), help="Instead of the declared number, for small installations."
)
@click.option("--replication", type=click.IntRange(1), help="Default: 3, or as many brokers as there are.")
def create(partitions: int | None, replication: int | None) -> None:
    """Create what is missing; an existing topic is never changed."""
    created = create_topics(settings.load().require_kafka(), partitions=partitions, replication=replication)
    click.echo(f"created {len(created)} topics" + "".join(f"\n  {name}" for name in created))


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Compare with the declaration; exit status 1 where a topic differs."""
    states = check_topics(settings.load().require_kafka())
    if as_json:
        rows = [
            {
                "topic": state.topic.name,
                "partitions": state.partitions,
                "replication": state.replication,
                "differences": list(state.differences),
            }
            for state in states
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        for state in states:
            verdict = "; ".join(state.differences) or "as declared"
            click.echo(
                f"{state.topic.name:<34} {state.partitions:>4} partitions × {state.replication}  {verdict}"
            )
    ctx.exit(1 if any(state.differences for state in states) else 0)
