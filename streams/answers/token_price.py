"""What a price per token would have charged for the same energy: the practice that the ledger is compared with.

Every model's requests are charged in proportion to their billed tokens, an output token counting as much as
`output_weight` input tokens, at the price that recovers exactly the energy that the model's requests drew. So
the difference to the ledger is who pays, never how much is paid.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["OUTPUT_WEIGHT", "token_charges"]

OUTPUT_WEIGHT: Final = 4.0
"""Public price lists of hosted models ask three to five times as much for an output token as for an input
token; 1 charges both alike, as the token-based attribution of Li et al. (SIGMETRICS PER, August 2025) does."""


def token_charges(
    models: list[str],
    energy_uj: NDArray[np.float64],
    prompt_tokens: NDArray[np.float64],
    emitted_tokens: NDArray[np.float64],
    *,
    output_weight: float = OUTPUT_WEIGHT,
) -> NDArray[np.float64]:
    """(L,) microjoules that L lines (of one model each) would be charged; sums per model are kept. O(L).

    Lines of a model of which nobody was billed a token keep their own energy.
    """
    billed = prompt_tokens + output_weight * emitted_tokens
    _, index = np.unique(np.asarray(models, dtype=str), return_inverse=True)
    tokens_of = np.bincount(index, billed)[index]
    energy_of = np.bincount(index, energy_uj)[index]
    return np.where(tokens_of > 0, energy_of * billed / np.where(tokens_of > 0, tokens_of, 1.0), energy_uj)
