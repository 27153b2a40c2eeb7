"""The demo's fleet in real time, over and over: `python -m wattledger.local.traffic KAFKA CLUSTER SEED`.

A process of its own, so that whoever serves pages is not kept from it; ends with whoever started it.
"""

import itertools
import sys
from dataclasses import replace

from producers.simulation.fleet import simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import publish

__all__ = ["main"]


def main(bootstrap: str, cluster: str, seed: int) -> None:
    """Publish one fleet after another, each its own incarnation of the same engines; never returns."""
    for drawn in itertools.count(seed):
        publish(simulate_fleet(replace(demo_scenario(seed=drawn), cluster=cluster)), bootstrap, speed=1.0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
