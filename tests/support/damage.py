"""Damages valid files, and the side files beside them, in a process that may not take much memory.

    python damage.py FOLDER COUNT SEED     prints one line for each thing that is not a plain refusal

A damaged file may be read (a flipped bit of a value is no damage that shows) or refused with an error of ours, whose
message is one line and names a file. Anything else, and computing for longer than two seconds, is a fault.
"""

from __future__ import annotations

import random
import re
import resource
import sys
import time
from pathlib import Path

import datasets  # noqa: F401  before the limit: what it maps is not the readers'
import shards
import torch

from encoder.errors import InputError, ShardError
from encoder.readers import find_inputs

MAX_GROWTH = 512 << 20
MAX_SECONDS = 2.0
NUMBERS = (b"-1", b"0", b"99999999999999999999", b"4611686018427387904", b"1e308", b"NaN", b"null", b'"x"', b"[]")
WORDS = (b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, (1 << 62).to_bytes(8, "little"), b"\xff\xff\xff\x7f")
SNIPPETS = (b'"', b"{", b"[", b"\n", b"N", b")", b"(", b"R", b".", b"cos\nsystem\n", b"h\x00", b"\x86")


def damaged(content: bytes, rnd: random.Random) -> bytes:
    """Change a few things: bits, numbers in text, lengths; cut a piece out, or the end off, or put one in twice."""
    changed = bytearray(content)
    for _ in range(rnd.choice((1, 1, 1, 2, 5))):
        if not changed:
            break
        at = rnd.randrange(len(changed))
        match rnd.randrange(8):
            case 0 | 1:
                changed[at] ^= 1 << rnd.randrange(8)
            case 2:
                changed[at] = rnd.randrange(256)
            case 3:
                changed[at : at + rnd.choice((1, 4, 8))] = rnd.choice(WORDS)
            case 4:
                del changed[at : at + rnd.choice((1, 10, len(changed)))]
            case 5:
                changed[at:at] = changed[at // 2 : at // 2 + rnd.randrange(60)]
            case 6 if numbers := list(re.finditer(rb"\d+", bytes(changed))):
                number = rnd.choice(numbers)
                changed[number.start() : number.end()] = rnd.choice(NUMBERS)
            case _:
                changed[at : at + 1] = rnd.choice(SNIPPETS)
    return bytes(changed)


def read_all(made: shards.Made, folder: Path) -> None:
    find_inputs(folder)
    shard = shards.open_one(made.path, made.rows.shape[1], made.select)
    shard.read(0, min(shard.n_rows, 1000))
    shard.tokens()


def fault_of(made: shards.Made, folder: Path) -> str | None:
    """Say what is wrong with how the damage was taken."""
    began = time.process_time()
    try:
        read_all(made, folder)
    except (ShardError, InputError) as exc:
        if "\n" in str(exc) or len(str(exc)) > 1500 or str(folder) not in str(exc):
            return f"a message of more than a line, or without a path: {str(exc)[:200]!r}"
    except BaseException as exc:
        return f"{type(exc).__name__}: {str(exc)[:200]!r}"
    seconds = time.process_time() - began
    return f"{seconds:.1f} s" if seconds > MAX_SECONDS else None


def main(root: Path, n_times: int, seed: int) -> None:
    rnd = random.Random(seed)
    acts = shards.random((2, 3, 4), torch.float32)
    folders = [root / maker.__name__ for maker in shards.MAKERS]
    made = []
    for maker, folder in zip(shards.MAKERS, folders, strict=True):
        folder.mkdir()
        made.append(maker(folder, acts))
        read_all(made[-1], folder)
    limit = MAX_GROWTH + 1024 * int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for i in range(n_times):
        which = i % len(made)
        files = sorted(path for path in folders[which].rglob("*") if path.is_file())
        target = made[which].path if rnd.random() < 0.6 else rnd.choice(files)
        content = target.read_bytes()
        target.write_bytes(damaged(content, rnd))
        fault = fault_of(made[which], folders[which])
        if fault is not None:
            print(f"{target.relative_to(root)} in round {i} of seed {seed}: {fault}", flush=True)
        target.write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
