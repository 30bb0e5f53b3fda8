"""What the pages read: functions of a `Look` and of a request's parameters, to an answer that becomes JSON.

    addresses.py    every address and its view
    parameters.py   what a request may ask, checked when it is read
    shapes/         the answers' types: the contract between these views and the pages
    answers.py      an answer -> JSON bytes
    summary.py documents.py lanes.py rows.py words.py groups.py features.py where.py search.py compare.py health.py
                    one subject each
    figure.py       what these views show as a figure or a table, by dashboard/figures/
    going_on.py     downloads and the queue, for health
    colours.py      what a document's tokens are coloured by
    excluded.py     rows that do not count, as answers have them

A view knows nothing of HTTP, changes nothing, and runs in any thread. The server calls it for a request, and
`--static` calls the same views for a part of the documents and keeps their answers.
"""
