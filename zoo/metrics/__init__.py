"""Benchmark metrics as `torchmetrics.Metric`, one file per benchmark family."""
