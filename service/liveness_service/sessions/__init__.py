"""One-time capture sessions, and files that were sent before. Nothing here imports the web framework."""
