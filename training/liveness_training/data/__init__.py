"""Labelled faces: where they are, how they are cropped, augmented and drawn."""
