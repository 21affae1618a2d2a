"""What a user of training can mend; the command line shows the message alone."""


class TrainingError(ValueError):
    """Base of the errors of data, weights and runs; the message says what to check."""
