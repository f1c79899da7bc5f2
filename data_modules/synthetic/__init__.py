"""What generated data sets are drawn with."""
