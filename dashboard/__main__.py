"""`python -m dashboard` is the `sae-dashboard` command."""

from dashboard.cli import main

main()
