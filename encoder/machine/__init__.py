"""This machine: its devices, its processor, and code that is compiled for it.

devices.py     the device that `--device` names
processor.py   the processor's name, which `sae-encode info` prints
compiled.py    the decorator of the loops that numba compiles, with their cache
"""
