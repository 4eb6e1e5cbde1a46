"""Rows: the canonical form, readers, checks, tokens, splits."""
