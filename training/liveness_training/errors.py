"""Errors that a user of training can fix; the command line shows their message without a traceback."""


class TrainingError(ValueError):
    """Base of all errors of data, settings, weights and runs; the message says what to check."""
