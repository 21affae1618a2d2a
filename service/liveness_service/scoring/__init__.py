"""Scores uploads: prepares them, runs the model in batches, and makes verdicts of the scores."""
