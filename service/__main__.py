"""`python -m service` is the `glimt` command."""

from service.cli import app

app()
