"""Benchmarks: one file per data set, with the official split. Imports nothing from `zoo` but its batch types."""
