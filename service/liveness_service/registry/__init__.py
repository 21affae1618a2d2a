"""Which bundle scores: loaded bundles, their roles, and where they come from."""
