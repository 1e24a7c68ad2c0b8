"""What can be served: architectures, weight sources, versions on disk, the bundled demo model."""
