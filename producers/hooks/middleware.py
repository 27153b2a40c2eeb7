"""ASGI middleware that names the tenant of every request to vLLM.

`vllm serve … --middleware producers.hooks.middleware.TenantMiddleware`. It takes the tenant from a header
that the operator's gateway sets, or looks it up by API key, seals it and puts it into the body's
`vllm_xargs`; whatever the client wrote there is overwritten.
"""

import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from producers.hooks.tenants import (
    KEY_VARIABLE,
    MAX_TENANT_CHARACTERS,
    NO_TENANT,
    XARG,
    ensure_key,
    seal,
)
from schemas.errors import ConfigurationError

__all__ = ["TenantMiddleware", "key_digest"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES: Final = 256 << 20
"""Prompts with images reach tens of megabytes; what is larger is left to the engine to refuse."""


class TenantMiddleware:
    """Wraps the engine's ASGI application.

    WATTLEDGER_TENANT_HEADER names the trusted header (`x-tenant-id`); the gateway must strip it from what
    clients send. WATTLEDGER_API_KEYS is a JSON file {sha256 of the key: tenant}; with it a bearer token
    decides, and a header is not looked at. A request that neither names has the tenant NO_TENANT, sealed all
    the same, so that a client cannot fill it in.
    """

    def __init__(self, app: App, env: MutableMapping[str, str] = os.environ) -> None:
        ensure_key(env)
        self._app = app
        self._key = env[KEY_VARIABLE]
        self._header = env.get("WATTLEDGER_TENANT_HEADER", "x-tenant-id").lower().encode()
        keys_file = env.get("WATTLEDGER_API_KEYS")
        self._by_key = read_keys(Path(keys_file)) if keys_file else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Seal the tenant into a JSON request body; everything else passes untouched."""
        if scope["type"] != "http" or scope["method"] != "POST" or not is_json(scope):
            await self._app(scope, receive, send)
            return
        body = await read_body(receive)
        sealed = with_tenant(body, seal(self._tenant(scope), self._key))
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(sealed)).encode()))
        await self._app({**scope, "headers": headers}, replay(sealed, receive), send)

    def _tenant(self, scope: Scope) -> str:
        headers: dict[bytes, bytes] = {name.lower(): value for name, value in scope["headers"]}
        if self._by_key is not None:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            tenant = self._by_key.get(key_digest(token)) if scheme.lower() == b"bearer" else None
            return tenant or NO_TENANT
        named = headers.get(self._header, b"").decode("utf-8", "replace").strip()
        return named[:MAX_TENANT_CHARACTERS] or NO_TENANT


def key_digest(token: bytes) -> str:
    """An API key as the key file lists it."""
    return hashlib.sha256(token.strip()).hexdigest()


def read_keys(path: Path) -> Mapping[str, str]:
    """The tenants by digest of their API key; ConfigurationError names file and fault."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"WATTLEDGER_API_KEYS={path}: {error}; a JSON object is expected") from error
    if not isinstance(found, dict) or not all(
        len(digest) == 64 and isinstance(tenant, str) and tenant for digest, tenant in found.items()
    ):
        raise ConfigurationError(
            f'WATTLEDGER_API_KEYS={path}: expected {{"<sha256 of the key, hexadecimal>": "<tenant>", ...}}'
        )
    return found


def is_json(scope: Scope) -> bool:
    """Whether the request's body is declared as JSON of a size that we read."""
    content_type, length = b"", 0
    for name, value in scope["headers"]:
        if name.lower() == b"content-type":
            content_type = value
        elif name.lower() == b"content-length":
            length = int(value)
    return content_type.startswith(b"application/json") and length <= MAX_BODY_BYTES


async def read_body(receive: Receive) -> bytes:
    """The whole request body."""
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def with_tenant(body: bytes, sealed: str) -> bytes:
    """The body with our argument set in `vllm_xargs`; a body that is no JSON object stays as it is."""
    try:
        request = json.loads(body)
    except ValueError:
        return body
    if not isinstance(request, dict):
        return body
    xargs = request.get("vllm_xargs")
    request["vllm_xargs"] = {**(xargs if isinstance(xargs, dict) else {}), XARG: sealed}
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once and then what the client sends next (a disconnect)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
