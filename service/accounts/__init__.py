"""Who is calling: passwords, tokens, roles. Knows nothing of HTTP and no SQL."""
