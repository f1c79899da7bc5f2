"""Fits a pairing with Lightning and measures it: the module that trains one, its loaders, trainer and checkpoints."""
