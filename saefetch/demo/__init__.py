"""The labels' part of `make demo`, and what all its parts are told with."""
