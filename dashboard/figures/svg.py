"""A figure as SVG, of a fixed width. Each text says how long it is, so it fits its place in any font."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from dashboard.figures.colours import HEAT, colour_of, on_white
from dashboard.figures.figure import Bar, Figure, Flow, Mark, Scale, is_from_right, lines_of, split_token, visible
from dashboard.figures.metrics import FONT, width_of, wrapped

WIDTH, MARGIN, SIZE, LINE = 720.0, 16.0, 14.0, 22.0
SMALL, INK, GREY = 11.0, "#1c2128", "#57606a"
HEAD, BAR, BOLD = 54.0, 150.0, 1.08
_TO_B = "#2f7fd1"


class _Page:
    """A sheet that is written from the top to the bottom."""

    def __init__(self) -> None:
        self.y = MARGIN
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = SIZE,
        colour: str = INK,
        bold: bool = False,
        end: bool = False,
    ) -> None:
        length = (
            f' textLength="{width_of(text, size) * (BOLD if bold else 1):.1f}" lengthAdjust="spacingAndGlyphs"'
            if len(text) > 1
            else ""
        )
        weight, anchor = ' font-weight="bold"' if bold else "", ' text-anchor="end"' if end else ""
        style = f'font-size="{size:g}" fill="{colour}"{weight}{anchor}{length} xml:space="preserve"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, colour: str, stroke: str = "") -> None:
        line = f' stroke="{stroke}"' if stroke else ""
        at = f'x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}"'
        self.parts.append(f'<rect {at} rx="2" fill="{colour}"{line}/>')

    def paragraph(self, text: str, *, size: float, colour: str = INK, bold: bool = False) -> None:
        for line in wrapped(visible(text), size * (BOLD if bold else 1), WIDTH - 2 * MARGIN):
            self.y += size * 1.45
            self.text(MARGIN, self.y, line, size=size, colour=colour, bold=bold)

    def scale(self, number: int, scale: Scale) -> None:
        self.y += LINE
        colour, x = colour_of(scale.pin), MARGIN
        self.text(x, self.y, scale.least, size=SMALL, colour=GREY)
        x += width_of(scale.least, SMALL) + 6
        self.parts.append(
            f'<defs><linearGradient id="g{number}"><stop stop-color="#ffffff"/><stop offset="1" stop-color="{colour}"/>'
            "</linearGradient></defs>"
        )
        self.rect(x, self.y - 10, 90, 12, f"url(#g{number})", "#d8dce2")
        self.text(x + 96, self.y, scale.most, size=SMALL, colour=GREY)
        x += 96 + width_of(scale.most, SMALL) + 12
        for i, line in enumerate(wrapped(visible(scale.label), 13, WIDTH - MARGIN - x)):
            self.y += 17 if i else 0
            self.text(x, self.y, line, size=13)

    def flow(self, flow: Flow) -> None:
        left = MARGIN + (HEAD if flow.head else 0)
        self.y += LINE
        if flow.head:
            self.text(left - 10, self.y, flow.head, size=13, colour=GREY, end=True)
        paragraph: list[Mark] = []
        is_first = True
        for mark in (*flow.marks, None):
            if mark is not None:
                paragraph.append(mark)
            if paragraph and (mark is None or split_token(mark.text)[2]):
                self.y += 0 if is_first else LINE
                self._paragraph_of(paragraph, left)
                paragraph, is_first = [], False

    def _paragraph_of(self, marks: Sequence[Mark], left: float) -> None:
        right = WIDTH - MARGIN
        from_right = is_from_right([mark.text for mark in marks])
        x = left
        for group in _groups(marks):
            before = width_of(group[0][0], SIZE)
            together = sum(width_of(word, SIZE) for _, word, _ in group)
            for i, (_, word, mark) in enumerate(group):
                long = width_of(word, SIZE)
                needed = before + together if i == 0 and together <= right - left else long
                if x > left and x + needed > right:
                    self.y += LINE
                    x = left
                x += before if i == 0 and x > left else 0
                self._mark(left + right - x - long if from_right else x, long, word, mark)
                x += long

    def _mark(self, x: float, width: float, word: str, mark: Mark) -> None:
        if mark.heat > 0 or mark.is_centre:
            colour = colour_of(None if mark.scale < 0 else mark.scale, is_minus=mark.is_minus)
            self.rect(x - 1, self.y - 14, width + 2, 19, on_white(colour, mark.heat), INK if mark.is_centre else "")
        self.text(x, self.y, word)

    def bar(self, bar: Bar, figures: float, *, two_sided: bool) -> None:
        room = WIDTH - 2 * MARGIN - BAR - figures - 24
        self.y += LINE
        top = self.y
        for i, line in enumerate(wrapped(visible(bar.label), 13, room)):
            self.y += 17 if i else 0
            self.text(MARGIN, self.y, line, size=13)
        self.text(WIDTH - MARGIN, top, bar.figures, size=12, colour=GREY, end=True)
        x, length = WIDTH - MARGIN - figures - 12 - BAR, abs(bar.share) * (BAR / 2 if two_sided else BAR)
        middle = x + (BAR / 2 if two_sided else 0)
        is_left = two_sided and bar.share > 0
        self.rect(middle - length if is_left else middle, top - 10, length, 11, HEAT if bar.share > 0 else _TO_B)


def _groups(marks: Sequence[Mark]) -> list[list[tuple[str, str, Mark]]]:
    """Return tokens that stand together without a space, each as the spaces before it, its word, and itself."""
    groups: list[list[tuple[str, str, Mark]]] = []
    for mark in marks:
        before, word, _ = split_token(mark.text)
        if before or not groups:
            groups.append([])
        groups[-1].append((before, word, mark))
    return groups


def svg(figure: Figure) -> str:
    page = _Page()
    for line in figure.title.split("\n"):
        page.paragraph(line, size=16, bold=True)
    page.y += 2
    for number, scale in enumerate(figure.scales):
        page.scale(number, scale)
    page.y += 6 if figure.scales else 0
    for flow in figure.flows:
        page.flow(flow)
        page.y += 4
    if any(figure.sides):
        page.y += LINE
        page.text(MARGIN, page.y, f"◂ {figure.sides[0]}    ▸ {figure.sides[1]}", size=12, colour=GREY)
    figures = max((width_of(bar.figures, 12) for bar in figure.bars), default=0.0)
    for bar in figure.bars:
        page.bar(bar, figures, two_sided=any(figure.sides))
    page.y += 6
    for text in (*figure.remarks, figure.caption):
        page.paragraph(text, size=SMALL, colour=GREY)
    width, height = f"{WIDTH:g}", f"{page.y + MARGIN:.0f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="{FONT}" role="img">',
        f"<title>{escape(visible(lines_of(figure.title)))}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *page.parts,
        "</svg>\n",
    ]
    return "\n".join(lines)
