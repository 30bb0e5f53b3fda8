"""The `saefetch` command. `app` says which commands there are; each one's work is in a module of its own."""

from saefetch.terminal.program import Program

__all__ = ["main"]


def _prepare(command: str) -> object:
    """Start a download's parser before pydantic and all the rest, so that it is small, and ready when they are."""
    if command != "download":
        return None
    from saefetch.sources import parser

    return parser.start()


main = Program("saefetch", "saefetch", _prepare).main
