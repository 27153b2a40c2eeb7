"""`wattledger topics`: create the Kafka topics as declared, or say how they differ."""

import json

import click

from schemas.kafka_address import servers_of
from wattledger import settings
from wattledger.kafka_acls import acl_commands
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


@command.command("acls")
@click.option("--agent", help="Principal of the node agents, such as User:wattledger-agent.")
@click.option("--worker", help="Principal of the workers.")
@click.option("--poller", help="Principal of the grid poller.")
@click.option("--operator", help="Principal of operators: topics, policies, repairs, replays.")
def acls(agent: str | None, worker: str | None, poller: str | None, operator: str | None) -> None:
    """Print the commands that give each role its rights; run them with Kafka's own tool.

    ACLs know topics, not keys: docs/security.md says what signatures add.

    \b
    Example:
      wattledger topics acls --agent User:wattledger-agent --worker User:wattledger-worker
    """
    asked = {"agent": agent, "worker": worker, "poller": poller, "operator": operator}
    named = {role: principal for role, principal in asked.items() if principal}
    if not named:
        raise click.UsageError("name a principal: --agent, --worker, --poller or --operator")
    servers = servers_of(settings.load().require_kafka())
    for line in acl_commands(servers, named):
        click.echo(line)
