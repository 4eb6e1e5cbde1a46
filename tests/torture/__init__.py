"""Killing processes at random moments."""
