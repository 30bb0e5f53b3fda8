"""The `saefetch` command. `app` says which commands there are; each one's work is in a module of its own."""

from saefetch.terminal.program import Program

__all__ = ["main"]

main = Program("saefetch", "saefetch").main
