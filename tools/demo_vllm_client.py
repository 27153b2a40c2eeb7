"""The vLLM side of `make demo-vllm`, run by vLLM's own Python: a real server, an OpenAI client, three tenants.

    python demo_vllm_client.py FOLDER      prints {tenant: {"prompt": …, "completion": …, "requests": …}}

Then it keeps the server (and so the hook's heartbeat) until its standard input ends.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from openai import OpenAI  # type: ignore[import-not-found, unused-ignore]

from tests.hooks.leaks import PLANTED
from tests.vllm.serve import MODEL, serve

TENANTS = ("acme", "globex", "initech")
REQUESTS = 36


def main() -> None:
    """Serve, ask, print the usage that the server reported, wait."""
    usage = {tenant: {"prompt": 0, "completion": 0, "requests": 0} for tenant in TENANTS}
    arguments = ("--middleware", "producers.hooks.middleware.TenantMiddleware")
    with serve(Path(sys.argv[1]), *arguments, hook=True) as server:
        client = OpenAI(base_url=f"{server.url}/v1", api_key="none")

        def ask(number: int) -> tuple[str, int, int]:
            tenant = TENANTS[number % len(TENANTS)]
            words = " ".join(
                f"w{PLANTED[(number + place) % len(PLANTED)]}" for place in range(10 + 5 * number)
            )
            found = client.completions.create(
                model=MODEL,
                prompt=words,
                max_tokens=10 + 4 * (number % 7),
                temperature=0,
                extra_headers={"x-tenant-id": tenant},
                extra_body={"ignore_eos": True},
            ).usage
            assert found is not None
            return tenant, found.prompt_tokens, found.completion_tokens

        with ThreadPoolExecutor(6) as pool:
            for tenant, prompt, completion in pool.map(ask, range(REQUESTS)):
                usage[tenant]["prompt"] += prompt
                usage[tenant]["completion"] += completion
                usage[tenant]["requests"] += 1
        print(json.dumps(usage), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
