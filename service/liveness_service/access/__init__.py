"""Who may ask, and how often. Nothing here knows the web framework."""
