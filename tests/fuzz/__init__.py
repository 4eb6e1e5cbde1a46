"""Runs that look for inputs that nobody thought of."""
