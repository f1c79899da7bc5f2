"""What the `zoo` command and its completion in a shell know: commands, what may follow a word, scripts for shells."""
