"""What the zoo holds: recipes and adapters, their cards and the evidence behind them, and what can run here."""
