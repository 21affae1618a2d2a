"""Labelled faces: reading data sets, cutting crops, splitting people, drawing and augmenting batches."""
