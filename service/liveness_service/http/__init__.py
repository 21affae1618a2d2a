"""How the service speaks HTTP: uvicorn, with limits for each connection and an orderly end."""
