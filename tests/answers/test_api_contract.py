"""The service keeps what its own OpenAPI description promises, whatever is sent to it."""

from datetime import UTC, datetime
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from streams.answers.api import ServiceRules, create_api
from streams.answers.registry import OPERATOR, add_tenant
from streams.answers.signing import load_keyring, new_key
from tests.answers.conftest import Ledger


def test_any_call_is_answered_as_described_and_none_breaks_the_service(
    ledger: Ledger, tmp_path: Path
) -> None:
    new_key(tmp_path, datetime(2026, 9, 1, tzinfo=UTC))
    key = add_tenant(ledger.client, f"operator-{datetime.now(UTC).timestamp()}", role=OPERATOR)
    app = create_api(ledger.dsn, load_keyring(tmp_path), ServiceRules(per_second=1e6, burst=1e6))
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    called = []
    for operation in described.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
        def keeps_its_promise(case: schemathesis.Case) -> None:
            response = case.call(headers={"Authorization": f"Bearer {key}"})
            case.validate_response(response, checks=checks)

        keeps_its_promise()
        called.append(operation.ok().path)
    assert "/v1/receipts/{request_id}" in called
    assert len(called) == 8
