"""Processes that read uploads in place of this one, so that a file which breaks its decoder breaks nothing else."""
