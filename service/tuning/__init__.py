"""Finding the best batch size and window by asking a running service. Speaks HTTP, knows nothing of its inside."""
