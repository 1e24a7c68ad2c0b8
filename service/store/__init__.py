"""The database and the kept pictures: one file per table group, one writer, acknowledged after COMMIT."""
