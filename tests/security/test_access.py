"""A tenant's account sees its own rows and no one else's, whatever it asks.

The embedded engine takes no CREATE ROLE or ROW POLICY, but it takes its only user's grants and row filters from a
configuration file: the same conditions are tested there, in the real SQL engine. The statements for a server are
tested by its parser.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest

from schemas.errors import ConfigurationError
from streams.ledger.access import FILTERS, MANIFEST, OPEN, VIEWS, Access, tenant_filters
from streams.ledger.tables import arrow_schema, declared

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ODD = "o'br\\ien"
CHILD = """
import json, sys
import chdb
path, config, asked = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
session = chdb.connect(f"{path}?config-file={config}" if config else path)
answers = []
for statement in asked:
    try:
        answers.append(session.query(statement, "TSV").data().strip())
    except Exception as error:
        answers.append("refused: " + str(error)[:200])
print(json.dumps(answers))
"""


def users_xml(tenant: str) -> str:
    """The only user there is, with a tenant's grants and filters, as `Access` states them for its role."""
    filters = "".join(
        f"<{table}><filter>{escape(condition)}</filter></{table}>"
        for table, condition in tenant_filters("w", tenant).items()
    )
    grants = [f"GRANT SELECT ON w.{table}" for table in (*FILTERS, *OPEN, *VIEWS) if table != "batches"]
    grants.append(f"GRANT SELECT({', '.join(MANIFEST)}) ON w.batches")
    queries = "".join(f"<query>{grant}</query>" for grant in grants)
    return (
        "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password></password>"
        "<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>"
        f"<grants>{queries}</grants><databases><w>{filters}</w></databases></default></users></clickhouse>"
    )


def ask(folder: Path, statements: list[str], tenant: str | None = None) -> list[str]:
    """Run statements in a process of their own: as its owner, or as a tenant's account."""
    config = ""
    if tenant is not None:
        (folder / "users.xml").write_text(users_xml(tenant))
        config = f"{folder}/config.xml"
        Path(config).write_text(
            f"<clickhouse><users_config>{folder}/users.xml</users_config><user_directories><users_xml>"
            f"<path>{folder}/users.xml</path></users_xml></user_directories></clickhouse>"
        )
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder / "db"), config, json.dumps(statements)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    answers: list[str] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What two tenants and the owner are told, by question."""
    folder = tmp_path_factory.mktemp("access")
    tables = {
        "ledger": "tenant String, batch_id String, energy_uj Int64",
        "transfers": "tenant String, energy_uj Int64",
        "tenant_hours": "tenant String, energy_uj Int64",
        "statements": "tenant String, number String",
        "rollup_runs": "hour Int64",
        "raw_meter": "meter_id String",
        "batches": ", ".join(f"{name} Int64" for name in MANIFEST if name != "batch_id")
        + ", batch_id String, metered_uj Int64",
    }
    odd = ODD.replace("\\", "\\\\").replace("'", "\\'")
    made = [
        "CREATE DATABASE w ENGINE = Atomic",
        *(
            f"CREATE TABLE w.{name} ({columns}) ENGINE = MergeTree ORDER BY tuple()"
            for name, columns in tables.items()
        ),
        "INSERT INTO w.ledger VALUES ('acme', 'b1', 1), ('globex', 'b1', 2), ('globex', 'b2', 4)",
        f"INSERT INTO w.ledger VALUES ('{odd}', 'b3', 8)",
        f"INSERT INTO w.transfers VALUES ('acme', 1), ('globex', 2), ('{odd}', 8)",
        f"INSERT INTO w.tenant_hours VALUES ('acme', 1), ('globex', 2), ('{odd}', 8)",
        "INSERT INTO w.statements VALUES ('acme', 's1'), ('globex', 's2')",
        "INSERT INTO w.batches (batch_id, metered_uj) VALUES ('b1', 3), ('b2', 4), ('b3', 8)",
    ]
    asked = {
        "own ledger": "SELECT groupArray(energy_uj) FROM w.ledger",
        "asked for another": "SELECT count() FROM w.ledger WHERE tenant = 'globex'",
        "own transfers": "SELECT sum(energy_uj) FROM w.transfers",
        "own hours": "SELECT sum(energy_uj) FROM w.tenant_hours",
        "own statements": "SELECT groupArray(number) FROM w.statements",
        "batches": "SELECT groupArray(batch_id) FROM w.batches",
        "what others drew": "SELECT sum(metered_uj) FROM w.batches",
        "another table": "SELECT * FROM w.raw_meter",
        "a write": "INSERT INTO w.ledger VALUES ('acme', 'b9', 9)",
    }
    count, energies = "SELECT count() FROM w.ledger", "SELECT groupArray(energy_uj) FROM w.ledger"
    *nothing, everything = ask(folder, [*made, count])
    assert not any(nothing), nothing
    told = dict(zip(asked, ask(folder, list(asked.values()), "acme"), strict=True))
    return told | {"odd name": ask(folder, [energies], ODD)[0], "owner": everything}


def test_a_tenant_sees_its_own_rows(answers: dict[str, str]) -> None:
    assert answers["own ledger"] == "[1]"
    assert (answers["own transfers"], answers["own hours"]) == ("1", "1")
    assert answers["own statements"] == "['s1']"
    assert answers["odd name"] == "[8]"
    assert answers["owner"] == "4"


def test_a_tenant_sees_nothing_of_others_even_when_it_asks(answers: dict[str, str]) -> None:
    assert answers["asked for another"] == "0"
    assert answers["batches"] == "['b1']"
    for refused in ("what others drew", "another table", "a write"):
        assert "ACCESS_DENIED" in answers[refused] or "Not enough privileges" in answers[refused], answers[
            refused
        ]


def test_every_statement_is_one_that_the_server_parses(database: "Client") -> None:
    for cluster in (None, "fleet"):
        statements = list(Access("wattledger", ("acme", ODD.replace("\\", "")), cluster).statements())
        assert len(statements) == len(set(statements))
        for statement in statements:
            database.command("SELECT formatQuery({statement:String})", parameters={"statement": statement})
            assert ("ON CLUSTER" in statement) == (cluster is not None)


def test_every_table_with_a_tenants_rows_is_filtered_or_closed_to_tenants() -> None:
    with_tenants = {name for name in declared() if "tenant" in arrow_schema(name).names}
    granted = {*FILTERS, *OPEN}
    assert set(FILTERS) - {"batches"} <= with_tenants
    assert not with_tenants & set(OPEN)
    assert granted <= set(declared())


@pytest.mark.parametrize("tenant", ["a`b", "a\\b", "", "a\nb"])
def test_a_name_that_could_break_out_of_its_quotes_is_refused(tenant: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a role"):
        list(Access("wattledger", (tenant,)).statements())
