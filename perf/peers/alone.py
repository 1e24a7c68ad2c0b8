"""The reference: the frozen graph alone, at batch 8, in a process of its own. Prints pictures per second.

python -m perf.peers.alone SECONDS
"""

import sys
import time

import numpy as np

from perf.peers.resnet import SIZE, Frozen

BATCH = 8


def main() -> None:
    """Run batches for the asked time."""
    frozen, seconds, runs = Frozen(), float(sys.argv[1]), 0
    pixels = np.random.default_rng(0).integers(0, 255, (BATCH, SIZE, SIZE, 3), np.uint8)
    frozen(pixels)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        frozen(pixels)
        runs += 1
    sys.stdout.write(f"{BATCH * runs / (time.perf_counter() - started)}\n")


if __name__ == "__main__":
    main()
