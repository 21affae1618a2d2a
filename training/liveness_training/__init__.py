"""Training: from labelled faces to a model bundle."""
