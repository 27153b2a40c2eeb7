"""What `wattledger evaluate` shows in a terminal: progress while it works, one table at the end."""

from collections.abc import Callable
from typing import IO

from evaluation.coalitions import Progress
from evaluation.tables import Table, number

__all__ = ["progress_on", "text_table"]

_BAR = 24


def progress_on(stream: IO[str]) -> Callable[[str], Progress]:
    """Stages and their progress: one moving line on a terminal, one line per finished stage elsewhere."""
    live = stream.isatty()

    def stage(name: str) -> Progress:
        last = -1

        def tell(done: int, total: int) -> None:
            nonlocal last
            cells = _BAR * done // max(total, 1)
            if live and cells != last:
                stream.write(f"\r\x1b[K{name:36} {'█' * cells}{'░' * (_BAR - cells)} {done}/{total}")
            if done >= total and last < _BAR:
                stream.write("\n" if live else f"{name}: {total}\n")
            stream.flush()
            last = cells

        return tell

    return stage


def text_table(table: Table) -> str:
    """Aligned columns: the first to the left, the others to the right, headers of two lines where they are long."""
    headers = [_two_lines(column) for column in table.columns]
    cells = [[number(cell) for cell in row] for row in table.rows]
    widths = [
        max(*(len(line) for line in header), *(len(row[i]) for row in cells))
        for i, header in enumerate(headers)
    ]
    head = [_aligned([header[part] for header in headers], widths) for part in (0, 1)]
    return "\n".join([*head, "─" * len(head[0]), *(_aligned(row, widths) for row in cells)])


def _aligned(cells: list[str], widths: list[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _two_lines(title: str) -> tuple[str, str]:
    head, _, tail = title.rpartition(" ")
    return (head, tail) if head else ("", title)
