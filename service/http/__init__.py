"""Handlers by subject: parse, one call, respond. They never touch arrays, SQL or futures."""
