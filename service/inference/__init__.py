"""The heart: bytes -> picture -> batch -> scores -> labels. Knows nothing of HTTP, SQL or users."""
