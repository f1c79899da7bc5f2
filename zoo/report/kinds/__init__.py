"""One file a kind of sample: the pictures that a task may ask for, those of a method, and that of one prediction."""
