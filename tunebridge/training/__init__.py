"""The trainer: `python -m tunebridge.training RUN_FOLDER`; the only room that may import torch."""
