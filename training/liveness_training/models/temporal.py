"""The temporal head: an LSTM over a clip's embeddings (the paper's section 3.2, sizes from 4.1)."""

from torch import Tensor, nn

# B clips, T frames, D embedding, H hidden


class TemporalHead(nn.Module):
    """Maps embeddings (B, T, D) to logits (B, 2), order [live, spoof]: one label a clip.

    The LSTM's output at the last frame goes into the classifier: by then it has seen them all. The paper gives the
    LSTM's sizes and that it has one output, not where it is taken.

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
        """The clip's feature (B, H), which the video-based domain discriminator looks at."""
        states_BTH, _ = self.lstm(embeddings_BTD)
        return states_BTH[:, -1]

    def forward(self, embeddings_BTD: Tensor) -> Tensor:
        """Compute the logits."""
        return self.classifier(self.dropout(self.summarise(embeddings_BTD)))
