"""The service's HTTP face: requests are checked, handed to `saefetch.service.service`, and answered in JSON.

table.py       every address: what it takes, what it gives, what can go wrong    shapes.py  the JSON objects
openapi.py     the table as an OpenAPI document                                  schema.py  TypedDict -> JSON Schema
app.py         the application: routes, and what every answer carries
runner.py      the server under it, whose own refusals are problem documents too
guard.py       who may ask: Host, token, Origin                                  host.py    names and secrets
given.py       path, query, headers and body, checked against the table
problems.py    every error as a problem document                                 log.py     ids, and lines of the log
jobs.py, views.py, events.py, metrics.py    the handlers
"""
