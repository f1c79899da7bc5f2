"""What data sets of one kind of sample share: clips, clouds, pictures, questions."""
