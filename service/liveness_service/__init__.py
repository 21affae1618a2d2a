"""The service: a photo in, a verdict out, over HTTP and on the command line."""
