"""How sure a share is that was counted: Wilson's interval (JASA 22, 1927). Pure."""

from math import sqrt

Z = 1.96  # 95 % of a normal distribution lie within so many deviations


def interval(hits: int, of: int) -> tuple[float, float]:
    """Between what the share of all such things lies, 95 % sure, where `hits` of `of` (> 0) were counted. In [0, 1]."""
    share = hits / of
    middle, half = share + Z * Z / (2 * of), Z * sqrt(share * (1 - share) / of + Z * Z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + Z * Z / of)), min(1.0, (middle + half) / (1 + Z * Z / of))
