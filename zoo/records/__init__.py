"""The plain data of runs: run folders, manifests, comparisons of several runs; no torch."""
