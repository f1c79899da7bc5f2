"""The catalogue of recipes and adapters, their cards and evidence, and which of them can run here."""
