"""Benchmarks: `make bench`. Everything runs on this machine against the stand-in; nothing needs the internet."""
