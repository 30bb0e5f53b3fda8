"""`python -m encoder` is the `sae-encode` command."""

from encoder.cli import main

main()
