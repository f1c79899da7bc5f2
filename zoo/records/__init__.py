"""What a run leaves as plain data: its folder, its manifest, comparisons of several runs; no torch."""
