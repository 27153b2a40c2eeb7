"""A worker that is prepared compiles nothing more, whatever its first frames and its first flush hold."""

import importlib
import pkgutil

from numba.core.dispatcher import Dispatcher

import schemas
import streams
from streams.preparation import prepare_booking
from tests.streams.test_golden_rows import booked


def signatures() -> dict[str, int]:
    """How often each compiled pass was compiled."""
    modules = [
        importlib.import_module(f"{room.__name__}.{module.name}")
        for room in (schemas, streams)
        for module in pkgutil.iter_modules(room.__path__)
        if not module.ispkg
    ]
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in modules
        for name, kernel in vars(module).items()
        if isinstance(kernel, Dispatcher)
    }


def test_nothing_is_compiled_after_the_worker_is_prepared() -> None:
    prepare_booking()
    known = signatures()
    assert any(known.values())
    assert booked()
    assert signatures() == known
