"""The `saefetch` command. `app` says which commands there are; each one's work is in a module of its own."""

from saefetch.cli.main import main

__all__ = ["main"]
