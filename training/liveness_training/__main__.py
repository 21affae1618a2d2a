"""`liveness-train`, also as `python -m liveness_training`: the command, or which extra is missing to run it."""

from liveness_core.extras import needs_extra


def main() -> None:
    """Run the command."""
    with needs_extra("training"):
        from liveness_training.cli import app

        app()


if __name__ == "__main__":
    main()
