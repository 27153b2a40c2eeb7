"""A tenant is what the operator's gateway says, and nothing that a client can write."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from producers.hooks.middleware import TenantMiddleware, key_digest
from producers.hooks.settings import HookSettings
from producers.hooks.tenants import FORGED_TENANT, KEY_VARIABLE, NO_TENANT, XARG, seal, tenant_of, unseal
from schemas.errors import ConfigurationError

KEY = "k" * 64


def call(env: dict[str, str], body: object, headers: dict[str, str], path: str = "/v1/completions") -> Any:
    """What the engine's application receives, as JSON, and the content-length it was told."""
    received: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        received["body"] = message["body"]
        received["length"] = dict(scope["headers"])[b"content-length"]

    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    chunks = [raw[:7], raw[7:]]

    async def receive() -> dict[str, Any]:
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()]
        + [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())],
    }
    asyncio.run(TenantMiddleware(app, env)(scope, receive, None))  # type: ignore[arg-type]
    assert int(received["length"]) == len(received["body"])
    return received["body"]


def tenant_behind(env: dict[str, str], body: dict[str, Any], headers: dict[str, str]) -> str:
    """The tenant the hook finds in what the middleware let through."""
    seen = json.loads(call(env, body, headers))
    settings = HookSettings(tenant_key=env[KEY_VARIABLE])
    return tenant_of(settings, xargs=seen["vllm_xargs"], adapter="", cache_salt=None)


def test_the_trusted_header_names_the_tenant() -> None:
    assert tenant_behind({KEY_VARIABLE: KEY}, {"prompt": "x"}, {"X-Tenant-Id": "acme"}) == "acme"


def test_what_the_client_wrote_is_overwritten() -> None:
    body = {"prompt": "x", "vllm_xargs": {XARG: seal("victim", "guess"), "other": 1}}
    assert tenant_behind({KEY_VARIABLE: KEY}, body, {"x-tenant-id": "acme"}) == "acme"
    assert tenant_behind({KEY_VARIABLE: KEY}, body, {}) == NO_TENANT
    assert json.loads(call({KEY_VARIABLE: KEY}, body, {}))["vllm_xargs"]["other"] == 1


def test_an_api_key_decides_where_keys_are_listed_and_the_header_does_not(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({key_digest(b"sk-1"): "acme"}))
    env = {KEY_VARIABLE: KEY, "WATTLEDGER_API_KEYS": str(keys)}
    headers = {"authorization": "Bearer sk-1", "x-tenant-id": "globex"}
    assert tenant_behind(env, {"prompt": "x"}, headers) == "acme"
    assert tenant_behind(env, {"prompt": "x"}, {"x-tenant-id": "globex"}) == NO_TENANT


def test_a_key_file_that_is_none_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"short": "acme"}')
    with pytest.raises(ConfigurationError, match="sha256"):
        TenantMiddleware(None, {KEY_VARIABLE: KEY, "WATTLEDGER_API_KEYS": str(keys)})  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"not json", b"[1, 2, 3]"])
def test_a_body_that_is_no_object_passes_as_it_is(body: bytes) -> None:
    assert call({KEY_VARIABLE: KEY}, body, {}) == body


def test_text_passes_unharmed() -> None:
    body = {"prompt": 'ümläut \U0001f600 "quoted"', "n": 1.5}
    assert json.loads(call({KEY_VARIABLE: KEY}, body, {}))["prompt"] == body["prompt"]


def test_a_seal_by_another_key_is_a_forgery() -> None:
    assert unseal(seal("acme", KEY), KEY) == "acme"
    assert unseal(seal("acme", "other"), KEY) == FORGED_TENANT
    assert unseal("acme", KEY) == FORGED_TENANT
    assert unseal(17, KEY) == FORGED_TENANT
    assert unseal(seal("acme", ""), "") == FORGED_TENANT


def test_clients_words_count_only_where_the_operator_says_so() -> None:
    xargs = {"tenant": "acme"}
    assert tenant_of(HookSettings(), xargs=xargs, adapter="sql", cache_salt="s") == NO_TENANT
    open_house = HookSettings(tenant_sources=("xargs", "lora"))
    assert tenant_of(open_house, xargs=xargs, adapter="sql", cache_salt=None) == "acme"
    assert tenant_of(open_house, xargs=None, adapter="sql", cache_salt=None) == "sql"


def test_a_cache_salt_leaves_only_as_a_keyed_hash() -> None:
    with pytest.raises(ConfigurationError, match="WATTLEDGER_SALT_KEY"):
        HookSettings.from_environment({"WATTLEDGER_TENANT_FROM": "cache_salt"})
    one, other = (
        HookSettings.from_environment({"WATTLEDGER_TENANT_FROM": "cache_salt", "WATTLEDGER_SALT_KEY": key})
        for key in ("a", "b")
    )
    found = tenant_of(one, xargs=None, adapter="", cache_salt="s3cret")
    assert found == tenant_of(one, xargs=None, adapter="", cache_salt="s3cret")
    assert found != tenant_of(other, xargs=None, adapter="", cache_salt="s3cret")
    assert "s3cret" not in found


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WATTLEDGER_TENANT_FROM", "header", "no source of tenants"),
        ("WATTLEDGER_FRAME_S", "soon", "not a number"),
        ("WATTLEDGER_FRAME_S", "60", "out of range"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        HookSettings.from_environment({variable: value})
    assert variable in str(caught.value)
