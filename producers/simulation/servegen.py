"""Draws requests from ServeGen's client rates and length quantiles: each client is one tenant.

Arrivals are a renewal process in the client's own time: inter-arrival times of mean 1 from its fitted
distribution (Gamma or Weibull, by shape), mapped through the integral of its rate, so that the rate holds in
every window and the burstiness is the client's. Lengths are drawn by inverse transform from the 21 quantiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gamma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from producers.simulation.requests import Requests, from_columns
from producers.simulation.tables import read_rows, real
from schemas.errors import DataError

__all__ = ["Client", "draw_requests", "read_clients"]

Floats = NDArray[np.float64]

WINDOW_S = 600.0
"""ServeGen's rates are means over ten minutes."""
_QUANTILES = tuple(f"q{percent:02d}" for percent in range(0, 101, 5))
_LEVELS = np.linspace(0.0, 1.0, len(_QUANTILES))


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """One API client; W windows of arrivals, each length table by the window it begins in."""

    client_id: int
    window_s: Floats
    """(W,) window starts, ascending."""
    rate_rps: Floats
    """(W,)"""
    distribution: str
    """Gamma or Weibull."""
    shape: float
    """Of the inter-arrival times in the busiest window."""
    lengths_from_s: Floats
    """(V,) where each row of the quantile tables takes effect, ascending."""
    prompt_quantiles: Floats
    """(V, 21)"""
    output_quantiles: Floats
    """(V, 21)"""


def read_clients(rates: Path, tokens: Path) -> tuple[Client, ...]:
    """Clients in order of their number; DataError names file, line and column."""
    windows: dict[int, list[tuple[float, float, str, float]]] = {}
    for line, row in read_rows(rates, ("client_id", "t_s", "rate_rps", "iat_dist", "iat_p1")):
        client, start, rate, shape = (
            real(rates, line, row, c) for c in ("client_id", "t_s", "rate_rps", "iat_p1")
        )
        if not (rate > 0 and shape > 0 and row["iat_dist"] in ("Gamma", "Weibull")):
            raise DataError(
                f"{rates}:{line}: rate_rps {row['rate_rps']}, iat_dist {row['iat_dist']!r}, iat_p1 "
                f"{row['iat_p1']}: rate and shape must be positive and the distribution Gamma or Weibull"
            )
        windows.setdefault(int(client), []).append((start, rate, row["iat_dist"], shape))
    lengths = _read_lengths(tokens)
    clients = []
    for client_id in sorted(windows):
        table = sorted(windows[client_id])
        busiest = max(table, key=lambda window: window[1])
        found = lengths.get(client_id, {})
        starts = sorted({start for start, _ in found})
        fields = {(start, field) for start in starts for field in ("input_tokens", "output_tokens")}
        if not starts or not fields <= set(found):
            raise DataError(
                f"{tokens}: client {client_id} lacks input_tokens or output_tokens; {rates} names it"
            )
        clients.append(
            Client(
                client_id=client_id,
                window_s=np.array([window[0] for window in table]),
                rate_rps=np.array([window[1] for window in table]),
                distribution=busiest[2],
                shape=busiest[3],
                lengths_from_s=np.array(starts),
                prompt_quantiles=np.array([found[start, "input_tokens"] for start in starts]),
                output_quantiles=np.array([found[start, "output_tokens"] for start in starts]),
            )
        )
    return tuple(clients)


def _read_lengths(tokens: Path) -> dict[int, dict[tuple[float, str], list[float]]]:
    lengths: dict[int, dict[tuple[float, str], list[float]]] = {}
    for line, row in read_rows(tokens, ("client_id", "window_start_s", "field", *_QUANTILES)):
        quantiles = [real(tokens, line, row, name) for name in _QUANTILES]
        if quantiles != sorted(quantiles) or quantiles[0] < 0:
            raise DataError(
                f"{tokens}:{line}: q00 ... q100 must be ascending and not negative; correct the row"
            )
        client = lengths.setdefault(int(real(tokens, line, row, "client_id")), {})
        client[real(tokens, line, row, "window_start_s"), row["field"]] = quantiles
    return lengths


def draw_requests(
    clients: Sequence[Client],
    tenants: Sequence[str],
    *,
    duration_s: float,
    requests_per_s: float,
    flatten: float,
    seed: int,
    source: str = "ServeGen",
) -> Requests:
    """Requests over `duration_s`, into which the clients' day is compressed.

    Client k keeps its share w_k ∝ (mean rate over the day)^flatten of `requests_per_s`: 1 keeps the
    production mix, in which three clients send nearly everything; 0 makes all equal. `tenants` names the
    clients in order.
    """
    weights = np.array([(client.rate_rps.sum() * WINDOW_S / 86_400) ** flatten for client in clients])
    expected = weights / weights.sum() * requests_per_s * duration_s
    drawn = [_draw(client, float(n), duration_s, seed) for client, n in zip(clients, expected, strict=True)]
    arrival_us, prompts, outputs = (np.concatenate(column) for column in zip(*drawn, strict=True))
    tenant = np.repeat(np.arange(len(clients)), [len(part[0]) for part in drawn])
    order = np.argsort(arrival_us, kind="stable")
    return from_columns(
        arrival_us[order],
        prompts[order],
        outputs[order],
        tenants=tuple(tenants[: len(clients)]),
        tenant=tenant[order].astype(np.int32),
        source=source,
    )


def _draw(
    client: Client, expected: float, duration_s: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(arrival_us, prompt, output) of one client: `expected` requests on average."""
    rng = np.random.default_rng([seed, client.client_id])
    share = np.cumsum(client.rate_rps) / client.rate_rps.sum()
    draws = int(expected + 6 * np.sqrt(expected) / min(1.0, client.shape) + 10)
    if client.distribution == "Gamma":
        gaps = rng.gamma(client.shape, 1.0 / client.shape, draws)
    else:
        gaps = rng.weibull(client.shape, draws) / gamma(1.0 + 1.0 / client.shape)
    own_time = np.cumsum(gaps) * (1.0 / expected)
    own_time = own_time[own_time < 1.0]
    window = np.searchsorted(share, own_time, side="right")
    before = np.concatenate([[0.0], share])[window]
    within = (own_time - before) / (share[window] - before)
    day_s = client.window_s[window] + within * WINDOW_S
    arrival_us = np.minimum(day_s / 86_400 * duration_s * 1e6, duration_s * 1e6 - 1).astype(np.int64)
    table = np.maximum(np.searchsorted(client.lengths_from_s, day_s, side="right") - 1, 0)
    prompts = _lengths(client.prompt_quantiles[table], rng.random(len(day_s)))
    outputs = _lengths(client.output_quantiles[table], rng.random(len(day_s)))
    return arrival_us, prompts, outputs


def _lengths(quantiles: Floats, levels: Floats) -> NDArray[np.int64]:
    """(n,) lengths at (n,) levels of (n, 21) quantiles, linear between them; at least 1 token."""
    position = levels * (len(_LEVELS) - 1)
    low = position.astype(np.int64)
    row = np.arange(len(levels))
    value = quantiles[row, low] + (position - low) * (quantiles[row, low + 1] - quantiles[row, low])
    return np.maximum(np.rint(value), 1).astype(np.int64)
