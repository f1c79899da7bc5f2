"""A pairing in other programs' formats, both ways: merged weights, HF peft, graphs, the authors' checkpoints."""
