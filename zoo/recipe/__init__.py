"""One YAML file to a checked configuration to live objects; no torch before something is built."""
