"""Ratios of the hot paths against what others run: `make bench`, `make bench-gpu`."""
