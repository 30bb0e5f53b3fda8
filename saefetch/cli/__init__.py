"""The `saefetch` command. A command line is a thin face: each command parses its words and calls one function.

app.py       commands, flags and help
download.py  saefetch.downloading      listing.py: which SAEs there are
inspect.py   what is on disk           read.py: labels for a person to read      options.py: flags of several commands
jobs.py      saefetch.service.client   jobs_app.py: the commands of `saefetch jobs`
"""

from saefetch.terminal.program import Program

__all__ = ["main"]

main = Program("saefetch", "saefetch").main
