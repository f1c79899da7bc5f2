"""The saved result of a training: where it is, how it is fetched, verified, trusted, loaded, saved and shared."""
