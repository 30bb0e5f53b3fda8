"""A stand-in for Neuronpedia on loopback: the API and the bulk export, with their real traps, over made-up data.

It imports nothing from the rest of saefetch, so that it stays an independent truth.
"""

from standin.bucket import Bucket
from standin.faults import (
    Action,
    CorruptGzip,
    DatabaseDown,
    Delay,
    Fault,
    Gone,
    Mangle,
    NoAnswer,
    Oversize,
    Reset,
    Respond,
    ShortBody,
    Stall,
    TooMany,
    TruncateGzip,
)
from standin.server import Standin
from standin.wire import Record
from standin.world import Explanation, Feature, Source, World

__all__ = [
    "Action",
    "Bucket",
    "CorruptGzip",
    "DatabaseDown",
    "Delay",
    "Explanation",
    "Fault",
    "Feature",
    "Gone",
    "Mangle",
    "NoAnswer",
    "Oversize",
    "Record",
    "Reset",
    "Respond",
    "ShortBody",
    "Source",
    "Stall",
    "Standin",
    "TooMany",
    "TruncateGzip",
    "World",
]
