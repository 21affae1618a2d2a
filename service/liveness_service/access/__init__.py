"""Who may use the service, and how often. Nothing here imports the web framework."""
