"""Heat as a colour on white paper. Opaque colours alone: not every program that reads a figure knows transparency."""

from __future__ import annotations

HEAT, COLD = "#f5a623", "#6fb1f2"
PINS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7")
"""Okabe and Ito's, which people with any colour vision tell apart; the page's pins have them in this order."""


def colour_of(pin: int | None, *, is_minus: bool = False) -> str:
    return COLD if is_minus else HEAT if pin is None else PINS[pin % len(PINS)]


def on_white(colour: str, heat: float) -> str:
    """Return the colour mixed with white: of no heat white, of heat 1 the colour itself."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * min(1.0, max(0.0, heat))):02x}" for part in parts)
