"""Good settings: the space of a sweep, its trials, its record."""
