"""Shared bases of data sets by kind of sample: clips, clouds, pictures, questions."""
