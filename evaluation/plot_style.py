"""How the report's plots look: the page's colours and font, and SVG that the page can size."""

import io
import re
from typing import Any, Final

from matplotlib.figure import Figure

__all__ = ["INK", "RULE", "SERIES", "SOFT", "STYLE", "figure", "svg"]

INK: Final = "#1c2226"
SOFT: Final = "#5a6268"
RULE: Final = "#d9d5ca"
SERIES: Final = ("#1d6f84", "#cf7a1c", "#8462a6", "#3e8a4c", "#b3386f")
_VARIABLES: Final = {
    INK: "--ink",
    SOFT: "--soft",
    RULE: "--rule",
    "#fdfcf9": "--paper",
    **{colour: f"--e{i}" for i, colour in enumerate(SERIES)},
}
"""Colours that the page sets, so that plots follow its dark scheme."""
STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wattledger",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": RULE,
    "legend.frameon": False,
}


def svg(drawn: Figure) -> str:
    """The figure as an SVG element without size, in the page's variables and font."""
    out = io.StringIO()
    drawn.savefig(out, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # The page sets width and font.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return re.sub(r" font-family: [^;\"]*;", "", text)


def figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure in inches and its axes, side by side."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.subplots(1, columns, **options)
