"""The models that are installed with the package."""
