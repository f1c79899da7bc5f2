"""Trainable methods, one file each."""
