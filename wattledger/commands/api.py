"""`wattledger api`: receipts, usage and the page over HTTP, for tenants and operators."""

import logging
from pathlib import Path

import click

from streams.answers.service import ServiceRules
from streams.answers.serving import serve
from wattledger import settings as settings_module
from wattledger.logs import begin_logging

__all__ = ["command"]


@click.command("api")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True)
@click.option("--open-page", is_flag=True, help="Show the fleet's page without a key (on your own machine).")
@click.option(
    "--rate",
    "per_second",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="Calls per second and address in the long run; three times as many at once.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Prometheus endpoint, on a port that tenants do not reach; 0 for none.",
)
def command(host: str, port: int, open_page: bool, per_second: float, metrics_port: int) -> None:
    """Serve receipts, lineage, usage, statements, books, public keys and the page.

    Keys come from `wattledger tenants add`; an operator's (--operator) sees every tenant. /openapi.json
    describes it all. Put a proxy with TLS in front before anyone else can reach it.

    \b
    Example:
      wattledger tenants add acme
      wattledger api --port 8321
      curl -H 'Authorization: Bearer wl_…' http://127.0.0.1:8321/v1/receipts/req-7f3a
    """  # fmt: skip
    settings = settings_module.load()
    begin_logging(settings.log_format, logging.WARNING)
    rules = ServiceRules(
        issuer=settings.issuer,
        base_url=settings.base_url,
        page_for_all=open_page,
        per_second=per_second,
        burst=3 * per_second,
    )
    serve(
        settings.clickhouse,
        host,
        port,
        keys=Path(settings.signing_keys),
        rules=rules,
        metrics_port=metrics_port,
        announce=lambda address: click.echo(f"listening on {address}; Ctrl-C ends it"),
    )
