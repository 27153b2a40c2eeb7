"""Whose request it is: taken from what the operator trusts, and never from what a client can forge unasked.

The middleware, in the API server's process, puts a tenant into the request's extra arguments together with a
keyed hash; the hook, in the scheduler's process, believes it only with that hash. A request without a tenant
has the named tenant NO_TENANT, one whose hash is wrong FORGED_TENANT: both are bills that someone can look
into.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from producers.hooks.settings import HookSettings

__all__ = [
    "FORGED_TENANT",
    "KEY_VARIABLE",
    "MAX_TENANT_CHARACTERS",
    "NO_TENANT",
    "XARG",
    "ensure_key",
    "seal",
    "tenant_of",
    "unseal",
]

NO_TENANT: Final = "no-tenant"
FORGED_TENANT: Final = "forged-tenant"
XARG: Final = "wattledger_tenant"
"""The key in `vllm_xargs`, and so in `SamplingParams.extra_args`."""
KEY_VARIABLE: Final = "WATTLEDGER_TENANT_KEY"
MAX_TENANT_CHARACTERS: Final = 256


def ensure_key(env: MutableMapping[str, str] = os.environ) -> None:
    """Make up the key that middleware and hook share, unless the operator set one.

    The engine's process is a child of the API server's and inherits it through the environment. Where they
    are not one family (several nodes), the operator sets it.
    """
    env.setdefault(KEY_VARIABLE, secrets.token_hex(32))


def seal(tenant: str, key: str) -> str:
    """The tenant with the hash that proves who put it there."""
    return f"{mac(tenant, key)}:{tenant}"


def unseal(value: object, key: str) -> str:
    """The tenant in a sealed value; FORGED_TENANT where the hash is wrong."""
    if not isinstance(value, str):
        return FORGED_TENANT
    found, _, tenant = value.partition(":")
    genuine = bool(key) and bool(tenant) and hmac.compare_digest(found.encode(), mac(tenant, key).encode())
    return tenant if genuine else FORGED_TENANT


def tenant_of(
    settings: HookSettings, *, xargs: Mapping[str, Any] | None, adapter: str, cache_salt: str | None
) -> str:
    """The tenant of one request, by the first of the operator's sources that names one."""
    for source in settings.tenant_sources:
        if source == "middleware" and xargs and XARG in xargs:
            return unseal(xargs[XARG], settings.tenant_key)
        if source == "xargs" and xargs and xargs.get("tenant"):
            return str(xargs["tenant"])[:MAX_TENANT_CHARACTERS]
        if source == "lora" and adapter:
            return adapter
        if source == "cache_salt" and cache_salt:
            return "salt-" + mac(cache_salt, settings.salt_key)
    return NO_TENANT


def mac(text: str, key: str) -> str:
    """Keyed BLAKE2b over the text, 128 bits in hexadecimal."""
    # BLAKE2b takes keys of at most 64 bytes; an operator's key may be longer.
    short = hashlib.sha256(key.encode()).digest()
    return hashlib.blake2b(text.encode(), key=short, digest_size=16).hexdigest()
