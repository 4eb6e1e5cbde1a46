"""The web page of an evaluation."""

from tunebridge.evaluation.evaluate import Evaluated


def page(done: Evaluated) -> str:
    """Return the page."""
    return ""
