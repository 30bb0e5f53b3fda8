"""How much memory is free: of the machine, within what this process's control group allows; of a GPU."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CONTROL_GROUP = Path("/sys/fs/cgroup")
UNKNOWN = 4 << 30
"""What is taken to be free where the system does not say."""


def free_bytes(device: torch.device) -> int:
    """Return the bytes that are free for a device: those of a CUDA device itself, else those of the machine."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return min(_of_machine(), left_of_group(CONTROL_GROUP))


def _of_machine() -> int:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return UNKNOWN


def left_of_group(folder: Path) -> int:
    """Return what a control group leaves, as containers and batch systems set it; what the page cache has is free."""
    with suppress(OSError, ValueError):
        limit = int((folder / "memory.max").read_text("ascii"))
        used = int((folder / "memory.current").read_text("ascii"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    return 1 << 62
