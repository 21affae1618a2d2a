"""The training loop and what it needs: progress, checkpoints, several processes. It knows no method."""
