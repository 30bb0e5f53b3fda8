"""A figure as HTML to paste into a page: all style is on the elements, nothing is loaded, everything is escaped."""

from __future__ import annotations

from html import escape

from dashboard.figures.colours import HEAT, colour_of, on_white
from dashboard.figures.figure import Bar, Figure, Flow, Mark, Scale, split_token, visible

_FONT = "Helvetica,Arial,sans-serif"
_BREAK = "\n"
_BLUE = "#2f7fd1"


def html(figure: Figure) -> str:
    parts = [
        f'<figure style="margin:0;max-width:720px;font:14px/1.6 {_FONT};color:#1c2128;background:#fff">',
        f'<div style="font-weight:bold;font-size:16px">{"<br>".join(map(_text, figure.title.split(_BREAK)))}</div>',
        *map(_scale, figure.scales),
        *map(_flow, figure.flows),
    ]
    if figure.bars:
        parts += ['<table style="border-collapse:collapse;width:100%">', *map(_bar, figure.bars), "</table>"]
    lines = "<br>".join(map(_text, (*figure.remarks, figure.caption)))
    parts += [f'<figcaption style="font-size:11px;color:#57606a">{lines}</figcaption>', "</figure>\n"]
    return "\n".join(parts)


def _text(text: str) -> str:
    return f"<bdi>{escape(visible(text))}</bdi>"


def _scale(scale: Scale) -> str:
    gradient = f"background:linear-gradient(90deg,#fff,{colour_of(scale.pin)});border:1px solid #d8dce2"
    bar = f'<span style="display:inline-block;width:90px;height:11px;{gradient}"></span>'
    return f"<div>{escape(scale.least)} {bar} {escape(scale.most)} &nbsp; {_text(scale.label)}</div>"


def _flow(flow: Flow) -> str:
    head = f'<span style="color:#57606a">{escape(flow.head)}</span> ' if flow.head else ""
    return f'<p style="margin:4px 0;unicode-bidi:plaintext">{head}{"".join(map(_mark, flow.marks))}</p>'


def _mark(mark: Mark) -> str:
    before, word, ends = split_token(mark.text)
    style = ""
    if mark.heat > 0:
        colour = colour_of(None if mark.scale < 0 else mark.scale, is_minus=mark.is_minus)
        style = f"background:{on_white(colour, mark.heat)};"
    style += "outline:1px solid #1c2128;" if mark.is_centre else ""
    token = f'<span style="{style}border-radius:2px">{escape(word)}</span>' if style else escape(word)
    return before + token + ("<br>" if ends else "")


def _bar(bar: Bar) -> str:
    colour = HEAT if bar.share > 0 else _BLUE
    drawn = f'<div style="height:10px;width:{100 * abs(bar.share):.1f}%;background:{colour}"></div>'
    cells = (f"<td>{_text(bar.label)}</td>", f'<td style="width:150px">{drawn}</td>')
    return f'<tr>{"".join(cells)}<td style="text-align:right;white-space:nowrap">{escape(bar.figures)}</td></tr>'
