"""Who receives waits for who books, and for nothing else."""

import asyncio
import threading

import pytest

from streams.worker.turns import Turns


def test_receiving_waits_for_the_end_of_a_booking_and_the_event_loop_goes_on_meanwhile() -> None:
    turns, begun, let_go = Turns(), threading.Event(), threading.Event()
    seen: list[str] = []

    def book() -> None:
        with turns.booking():
            begun.set()
            let_go.wait(30)
            seen.append("booked")

    async def receive() -> None:
        await turns.receiving()
        seen.append("received")

    async def both() -> None:
        booking = asyncio.get_running_loop().run_in_executor(None, book)
        while not begun.is_set():
            await asyncio.sleep(0.001)
        receiving = asyncio.create_task(receive())
        await asyncio.sleep(0.02)
        assert seen == []
        let_go.set()
        await asyncio.gather(booking, receiving)

    asyncio.run(both())
    assert seen == ["booked", "received"]


def test_a_booking_that_fails_gives_its_turn_back() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.booking():
        raise ZeroDivisionError
    asyncio.run(asyncio.wait_for(turns.receiving(), 30))
