"""Counts as people write them. Pure."""


def counted(count: int, thing: str, things: str = "") -> str:
    """So many things: `1 picture`, `2,000 pictures`. `things`: what more than one are, where that is no mere s."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"
