"""How long the runner takes for an item, as measured. Pure."""

import statistics
from collections import deque

FIRST_GUESS_S = 0.05  # seconds per item until anything is known: one ResNet50 on a laptop core
LOOKED_AT = 9  # runs whose median is the pace: one that met a pause of the machine says nothing
INSTANT_S = 1e-6  # an item takes at least


class Pace:
    """`item_s` seconds per item: the median of the last runs."""

    def __init__(self) -> None:
        self.item_s = FIRST_GUESS_S
        self.runner = 0  # how many have begun after the first
        self._measured_s = deque[float](maxlen=LOOKED_AT)

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return bool(self._measured_s)

    def note(self, seconds: float, items: int) -> None:
        """Tell of a run."""
        self._measured_s.append(max(seconds / items, INSTANT_S))
        self.item_s = statistics.median(self._measured_s)

    def begin(self, item_s: float) -> None:
        """Another runner begins, of which so much was measured before; nothing of the last one holds any more."""
        self.runner += 1
        self._measured_s.clear()
        self.note(item_s, 1)
