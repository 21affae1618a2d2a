"""Decides which bundle scores a request: the loaded bundles, their roles, and the store they come from."""
