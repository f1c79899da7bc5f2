"""Numerical kernels shared by backbones and methods."""
