"""What is promised of a running installation, and the alerts that say when a promise is in danger.

Thresholds are for an undisturbed fleet; each says what it stands for. Expressions are PromQL over the catalogue.
"""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["OBJECTIVES", "Alert", "Objective"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert rule."""

    name: str
    expression: str
    lasts: str
    """How long the expression must hold, as Prometheus writes durations: short troubles mend themselves."""
    severity: Literal["page", "ticket"]
    """`page`: energy is being lost or wrongly booked, or nothing is booked. `ticket`: in working hours."""
    summary: str
    runbook: str
    """A file under docs/operations."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise (SLO)."""

    name: str
    promise: str
    measure: str
    """What is measured, as PromQL."""
    alerts: tuple[Alert, ...]


FRESH: Final = (
    'sum(rate(wattledger_freshness_seconds_bucket{le="5.0"}[15m])) '
    "/ sum(rate(wattledger_freshness_seconds_count[15m]))"
)
OBSERVED: Final = (
    '1 - sum(rate(wattledger_energy_joules_total{account="unobserved"}[1h])) '
    "/ sum(rate(wattledger_energy_joules_total[1h]))"
)
RESIDUAL: Final = (
    "sum(rate(wattledger_residual_joules_total[1h])) / sum(rate(wattledger_modelled_joules_total[1h]))"
)
DEAD: Final = "sum(rate(wattledger_dead_letters_total[15m])) / sum(rate(wattledger_messages_total[15m]))"
GAPS: Final = "sum(rate(wattledger_gap_seconds_total[1h])) / sum(wattledger_groups)"

OBJECTIVES: Final = (
    Objective(
        "freshness",
        "99 % of batches can be queried within 5 s of their window's end.",
        FRESH,
        (
            Alert(
                "WattledgerBooksBehind",
                f"{FRESH} < 0.99",
                "10m",
                "ticket",
                "Batches become queryable later than 5 s after their window's end.",
                "stuck-partition.md",
            ),
            # A node that falls silent holds its own windows for --park-after (600 s): beyond that, it is us.
            Alert(
                "WattledgerBooksStandStill",
                "wattledger_groups > 0 and time() - wattledger_sealed_until_seconds > 900",
                "5m",
                "page",
                "A worker has frames in memory and has sealed nothing for 15 minutes of event time.",
                "stuck-partition.md",
            ),
            Alert(
                "WattledgerNoWorker",
                "absent(wattledger_ready == 1)",
                "5m",
                "page",
                "No worker lets messages in: nothing is booked, everything waits in Kafka.",
                "stuck-partition.md",
            ),
            Alert(
                "WattledgerDatabaseAway",
                "increase(wattledger_insert_retries_total[10m]) > 10",
                "5m",
                "page",
                "Flushes are tried again and again: the database or the broker does not take them.",
                "clickhouse-outage.md",
            ),
        ),
    ),
    Objective(
        "coverage",
        "99 % of the metered energy is booked to a request or to an account with a known owner, and every "
        "closed hour's rise of the counters is booked exactly once.",
        OBSERVED,
        (
            Alert(
                "WattledgerEnergyUnobserved",
                f"{OBSERVED} < 0.99",
                "30m",
                "ticket",
                "More than 1 % of the energy is booked to `unobserved`: iteration data are missing.",
                "gaps.md",
            ),
            Alert(
                "WattledgerEnergyUnbooked",
                "wattledger_unbooked_joules > 0",
                "2h",
                "ticket",
                "Counters rose by energy that no window holds, and repairs have not brought it back.",
                "gaps.md",
            ),
            Alert(
                "WattledgerEnergyDoubled",
                "wattledger_doubled_joules > 0",
                "0m",
                "page",
                "Two windows hold the same rise of a counter.",
                "restatement.md",
            ),
            Alert(
                "WattledgerUnbalancedBatch",
                "increase(wattledger_unbalanced_batches_total[1h]) > 0",
                "0m",
                "page",
                "A batch's accounts did not sum to its meter; it was not written and the worker stopped.",
                "stuck-partition.md",
            ),
        ),
    ),
    Objective(
        "residual",
        "The energy models miss a batch's meter by less than 20 % on average.",
        RESIDUAL,
        (
            # A prior, in force until the first fit, may miss by half: two hours are twelve epochs of fits.
            Alert(
                "WattledgerResidualHigh",
                f"{RESIDUAL} > 0.2",
                "2h",
                "ticket",
                "Energy models do not describe what the meters show; shares within batches are less certain.",
                "gaps.md",
            ),
        ),
    ),
    Objective(
        "dead letters",
        "Fewer than 1 in 1,000 messages are set aside.",
        DEAD,
        (
            Alert(
                "WattledgerDeadLetters",
                f"{DEAD} > 0.001",
                "15m",
                "ticket",
                "Messages are being set aside; their time is `unobserved` until they are replayed.",
                "dead-letters.md",
            ),
            # Half of --dead-letter-ratio, at which a worker stops.
            Alert(
                "WattledgerDeadLettersMany",
                f"{DEAD} > 0.05",
                "5m",
                "page",
                "More than 5 % of the messages are refused; at 10 % a worker stops.",
                "dead-letters.md",
            ),
        ),
    ),
    Objective(
        "spool",
        "A frame leaves its node within five minutes.",
        "max(wattledger_agent_spool_oldest_seconds)",
        (
            Alert(
                "WattledgerSpoolOld",
                "wattledger_agent_spool_oldest_seconds > 300",
                "5m",
                "ticket",
                "A node's frames wait on its disk: it does not reach Kafka.",
                "broker-loss.md",
            ),
            Alert(
                "WattledgerSpoolLost",
                "increase(wattledger_agent_spool_lost_frames_total[1h]) > 0",
                "0m",
                "page",
                "A node's spool is full and detail is being given up.",
                "broker-loss.md",
            ),
        ),
    ),
    Objective(
        "gaps",
        "Iteration data are missing for less than 1 % of the time.",
        GAPS,
        (
            Alert(
                "WattledgerGaps",
                f"{GAPS} > 0.01",
                "30m",
                "ticket",
                "Groups run without iteration data for more than 1 % of the time.",
                "gaps.md",
            ),
            Alert(
                "WattledgerHookOff",
                "increase(wattledger_agent_hooks_off_total[1h]) > 0",
                "0m",
                "ticket",
                "An engine's hook switched itself off; its energy is unobserved until the engine restarts.",
                "gaps.md",
            ),
            Alert(
                "WattledgerMeterDown",
                "wattledger_agent_meter_up == 0",
                "10m",
                "ticket",
                "A GPU's meter cannot be read.",
                "gaps.md",
            ),
            Alert(
                "WattledgerRepairTooLate",
                'increase(wattledger_repairs_total{outcome="beyond_retention"}[1d]) > 0',
                "0m",
                "ticket",
                "What came late cannot be read again: Kafka no longer retains the frames beside it.",
                "backfill.md",
            ),
        ),
    ),
    Objective(
        "factors",
        "Every polled zone has brought an intensity within the last six hours.",
        "time() - max by (source) (wattledger_poller_last_round_seconds)",
        (
            Alert(
                "WattledgerIntensityMissing",
                "wattledger_poller_failed_zones > 0 or time() - wattledger_poller_last_round_seconds > 21600",
                "6h",
                "ticket",
                "A grid zone brings no carbon intensity; its rows take the next best figure meanwhile.",
                "restatement.md",
            ),
        ),
    ),
)
