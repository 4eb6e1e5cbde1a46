"""TuneBridge fine-tunes language models on any provider from one job file."""

__version__ = "0.1.0"
