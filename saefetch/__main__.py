"""`python -m saefetch` is the `saefetch` command."""

from saefetch.cli import main

main()
