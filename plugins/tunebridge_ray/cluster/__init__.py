"""What runs on the cluster's machines; it is uploaded beside the trainer, and imports nothing else of this package."""
