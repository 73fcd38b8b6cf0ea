"""
The cost of memory that was free for a while: ``python -m bench.memory``.

A virtual machine may give free memory back to its host. A program that needs it then waits for it.
"""

from __future__ import annotations

import resource
import tempfile
import time

PAUSES_SECONDS = (0, 0, 4, 15)
SIZE = 1 << 30


def main() -> None:
    """Write a file as large, drop it, wait, and again; print the system's part of each time."""
    piece = bytes(1 << 20)
    for pause in PAUSES_SECONDS:
        time.sleep(pause)
        started = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        with tempfile.TemporaryFile(buffering=0) as file:
            for _ in range(SIZE // len(piece)):
                file.write(piece)
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_stime - started
        print(f"{SIZE >> 20} MiB after {pause} s: {taken:.2f} s", flush=True)


if __name__ == "__main__":
    main()
