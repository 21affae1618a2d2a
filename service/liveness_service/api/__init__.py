"""The HTTP API under /v1: routes, schemas, errors as RFC 9457 problems. Only this package and `app` import FastAPI."""
