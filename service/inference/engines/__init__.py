"""The runtimes that compute scores. Each module here is the only importer of its runtime."""
