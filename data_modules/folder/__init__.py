"""A user's own files as a data set: the rows that name them, and how they are split."""
