"""The temporal head: an LSTM over a clip's embeddings (the paper's section 3.2, sizes from 4.1)."""

from torch import Tensor, nn

# B clips, T frames, D embedding, H hidden


class TemporalHead(nn.Module):
    """Maps embeddings (B, T, D) to logits (B, 2), order [live, spoof]: one label for each clip.

    The classifier takes the LSTM's output at the last frame, by which it has seen all of them. The paper says that the
    LSTM has one output and how large it is, but not at which frame it is taken.

    Args:
        embedding_dim: D.
        hidden: H; 256 in the paper.
        dropout: before the classifier.
    """

    def __init__(self, embedding_dim: int, hidden: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(embedding_dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, 2)

    def summarise(self, embeddings_BTD: Tensor) -> Tensor:
        """The feature of each clip, shape (B, H); the video-based domain discriminator takes it too."""
        states_BTH, _ = self.lstm(embeddings_BTD)
        last_BH: Tensor = states_BTH[:, -1]
        return last_BH

    def forward(self, embeddings_BTD: Tensor) -> Tensor:
        """Compute the logits (B, 2)."""
        logits_B2: Tensor = self.classifier(self.dropout(self.summarise(embeddings_BTD)))
        return logits_B2
