"""The machine that computes: what it has, and what it does to a process.

devices.py     which device `--device` means
processor.py   the processor's name
compiled.py    numba, compiled once for this machine
repeats.py     rows of zeros and rows that are the same, found in passing
scratch.py     a folder for what has to lie here for a while
signals.py     SIGINT and SIGTERM while something long runs
"""
