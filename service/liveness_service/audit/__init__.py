"""The audit log: one line for each verdict, written before the verdict is given."""
