"""A view as a figure for a paper, and as a table: drawn from the data, not from the screen.

    figure.py     `Figure`: what is drawn: scales, texts of tokens on their heat, bars, a table, a caption
    metrics.py    how wide a text is, and where it breaks
    colours.py    heat as a colour on white paper
    svg.py html.py latex.py markdown.py    a figure in this form
    table.py      its table as CSV, TSV or JSON
    formats.py    every form by its name

A PNG is the SVG, drawn by the browser. Nothing here knows of folders, labels or requests.
"""
