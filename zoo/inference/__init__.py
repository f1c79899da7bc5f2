"""From a user's files to predictions: inputs, predictor, a resumable job, the output file."""
