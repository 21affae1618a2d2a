"""The page that shows a run: curves, thresholds, features and activation maps."""
