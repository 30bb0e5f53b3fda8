"""The dashboard: one web page over labels and features, served on this machine or written into a folder.

    model/      labels and features on disk, as they are at one moment
    figures/    a figure or a table for a paper, in forms from SVG to CSV
    views/      a look at them and a request's parameters -> an answer
    server/     HTTP
    web/        the page: scripts and style sheets, as they are served, without a build step
    page.py     the list of these files; the server and the export need it
    export.py   `--static`: a part of the documents as a folder that opens without a server
    cli/        `sae-dashboard`

Imports point one way: cli -> server, export -> views -> figures, model.
"""
