"""What signing and checking a receipt cost, beside the signature alone: `python -m benchmarks.receipts`.

A receipt of the shipped form with four batches, one key. Single calls after a warm-up: the least is what an
undisturbed call takes; loading keys is apart, since a process does it once.
"""

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nacl.bindings import crypto_sign, crypto_sign_open

from streams.answers.report_files import canonical
from streams.answers.signing import keyring_of, load_keyring, new_key, public_keys, sign, verified

RECEIPT: dict[str, Any] = {
    "type": "receipt", "version": 1, "issuer": "wattledger", "issued_at": "2026-09-01T09:00:00+00:00",
    "request_id": "1788231600000000000-2dcaa971-21313", "client_request_id": "req-7f3a", "tenant": "yarrow-health",
    "engine_id": "larch/fjord-1/chat-large", "model": "meta-llama/Llama-3.1-70B-Instruct", "adapter": "",
    "first_served": "2026-09-01T09:00:45+00:00", "last_served": "2026-09-01T09:01:00+00:00",
    "energy_wh": 3.4201, "energy_j": 12312.7, "energy_uj": 12312700123, "cold_start_uj": 0,
    "half_width_uj": 1100000000, "confidence": 0.9, "host_uj": 2485000000,
    "carbon_g": {"location": 0.09235, "market": 0.09235}, "tier": 3,
    "tiers": [{"tier": 3, "batches": 4, "energy_uj": 12312700123, "part": 1.0,
               "carbon_g": {"location": 0.09235, "market": 0.09235}}],
    "boundary": "narrow: accelerators by their meters; host apart, without PUE",
    "tokens": {"prompt": 103, "cached": 0, "prefill": 103, "decode": 1023, "emitted": 1024}, "batches": 4,
    "attribution_methods": ["shapley_exact"], "model_versions": ["prior-23497e81d90f"],
    "lineage_url": "http://127.0.0.1:8321/v1/receipts/1788231600000000000-2dcaa971-21313/lineage",
    "lineage_sha256": "0" * 64,
}  # fmt: skip


def timed(name: str, call: Callable[[], object], calls: int = 20_000) -> None:
    """Print the least, the median and the 99th percentile of `calls` single calls, milliseconds."""
    for _ in range(200):
        call()
    took = []
    for _ in range(calls):
        began = time.perf_counter_ns()
        call()
        took.append(time.perf_counter_ns() - began)
    took.sort()
    least, median, late = (took[place] / 1e6 for place in (0, calls // 2, calls * 99 // 100))
    print(f"{name:26} least {least:.4f} ms   median {median:.4f} ms   p99 {late:.4f} ms")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        new_key(directory, datetime.now(UTC))
        ring = load_keyring(directory)
        token = sign(ring, RECEIPT)
        public = keyring_of(json.loads(json.dumps(public_keys(ring))))
        key = ring.keys[str(ring.current)]
        signed = token.rpartition(".")[0].encode()
        sealed = crypto_sign(signed, key.secret)
        print(f"a receipt of {len(canonical(RECEIPT)):,} bytes, {len(token):,} as JWS")
        timed("verify", lambda: verified(public, token))
        timed("  signature alone", lambda: crypto_sign_open(sealed, key.public))
        timed("sign", lambda: sign(ring, RECEIPT))
        timed("  signature alone", lambda: crypto_sign(signed, key.secret))
        timed("  canonical JSON", lambda: canonical(RECEIPT))
        timed("load a keyring of one key", lambda: load_keyring(directory), 2_000)


if __name__ == "__main__":
    main()
