"""The `sae-encode` command. `app` says which commands there are; their work is in the modules beside it."""

from encoder.cli.app import main

__all__ = ["main"]
