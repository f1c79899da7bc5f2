"""Numbers and predictions as tables and pictures."""
