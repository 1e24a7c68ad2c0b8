"""How batches are made: what is searched for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """Its order is from the plainest on: small batches, short waits."""

    max_batch: int
    max_wait_ms: float

    def __str__(self) -> str:
        return f"max_batch {self.max_batch}, max_wait_ms {self.max_wait_ms:g}"
