"""The `sae-dashboard` command. `app` says which flags there are; the work is in `run`."""

from saefetch.terminal.program import Program

__all__ = ["main"]

main = Program("sae-dashboard", "dashboard", extra="dashboard").main
