"""Tests of rows and what becomes of them."""
