"""A run: from crops and settings to a folder with weights, log, scores and figures; and the folder read back."""
