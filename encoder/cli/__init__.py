"""The `sae-encode` command. `app` says which commands there are; their work is in the modules beside it."""

from saefetch.cli.program import Program

__all__ = ["main"]

main = Program("sae-encode", "encoder").main
