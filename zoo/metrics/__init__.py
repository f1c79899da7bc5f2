"""Benchmark metrics, each usable alone: one file per benchmark family."""
