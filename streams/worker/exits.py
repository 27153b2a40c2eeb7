"""How a worker ends that must not go on: at once, for a clean shutdown would commit what is not durable."""

import logging
import os
import traceback
from typing import Final

from schemas.errors import WattledgerError

__all__ = ["die"]

log = logging.getLogger(__name__)

EXIT_BUG: Final = 70
"""Exit status of an internal error (sysexits: EX_SOFTWARE): restart me, what is not durable was not committed."""
EXIT_REFUSED: Final = 2
"""Exit status where the message says what a user must do."""


def die(error: BaseException) -> None:
    """End the process without a clean shutdown: what is not durable must not be committed."""
    if isinstance(error, WattledgerError):
        log.critical("%s", error)
        status = EXIT_REFUSED
    else:
        log.critical(
            "internal error, nothing more is committed\n%s", "".join(traceback.format_exception(error))
        )
        status = EXIT_BUG
    logging.shutdown()
    os._exit(status)
