"""Comparing answers with references."""
