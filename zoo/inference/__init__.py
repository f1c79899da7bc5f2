"""Predictions for a user's files: inputs, predictor, a resumable job, the output file."""
