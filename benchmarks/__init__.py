"""Benchmarks: each is run by one command of the Makefile, installs its peers itself and writes JSON."""
