"""The paper's method: the energies of its image-based and video-based networks, Eq. (1) and Eq. (2).

One encoder is shared. A batch of images gives Eq. (1), a batch of clips Eq. (2); the loop alternates between them.
"""

import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from liveness_training.config import TrainConfig
from liveness_training.models.discriminators import (
    ClassConditionalDiscriminator,
    DomainDiscriminator,
    correct_domains,
    domain_energy,
)
from liveness_training.models.gradient_reversal import GradientReversal
from liveness_training.models.network import Encoder, ImageNetwork, LivenessClassifier
from liveness_training.models.temporal import TemporalHead

# N images or clips, T frames of a clip, S crop size, D embedding, H hidden state


@dataclass(frozen=True, slots=True)
class Batch:
    """Images or clips with their labels."""

    image: Tensor
    """(N, 3, S, S) for images, (N, T, 3, S, S) for clips."""
    label: Tensor
    """(N,), 0 live and 1 spoof."""
    domain: Tensor
    """(N,), place of the domain among the sources."""
    teacher: Tensor | None = None
    """(N,), the teacher's log-odds of live; None where none marked them."""

    def __len__(self) -> int:
        return len(self.label)

    def part(self, start: int, end: int) -> "Batch":
        """Some of its images or clips."""
        teacher = None if self.teacher is None else self.teacher[start:end]
        return Batch(self.image[start:end], self.label[start:end], self.domain[start:end], teacher)

    def to(self, device: torch.device) -> "Batch":
        """On a device, images in the memory layout that convolves fastest."""
        image = self.image.to(device, non_blocking=True)
        if image.ndim == 4:
            image = image.to(memory_format=torch.channels_last)
        teacher = None if self.teacher is None else self.teacher.to(device, non_blocking=True)
        return Batch(
            image, self.label.to(device, non_blocking=True), self.domain.to(device, non_blocking=True), teacher
        )


class _DomainEnergies(nn.Module):
    """GRL and the domain discriminators behind it, for images (D_IB) or for clips (D_VB)."""

    def __init__(self, feature_dim: int, domains: int, config: TrainConfig, *, plain: bool, conditional: bool) -> None:
        super().__init__()
        self.reversal = GradientReversal(config.grl_factor, config.grl_schedule, config.steps)
        sizes = (feature_dim, domains, config.discriminator_width, config.discriminator_dropout)
        self.dis = DomainDiscriminator(*sizes) if plain else None
        self.ccdd = ClassConditionalDiscriminator(*sizes) if conditional else None

    def forward(self, feature_ND: Tensor, label_N: Tensor, domain_N: Tensor) -> dict[str, Tensor]:
        """The energies by name, summed over the batch, and how many domains were told right."""
        reversed_ND = self.reversal(feature_ND)
        energies = {}
        if self.dis is not None:
            scores_NK = self.dis(reversed_ND)
            energies["dis"] = domain_energy(scores_NK, domain_N)
            energies["dis_correct"] = correct_domains(scores_NK, domain_N)
        if self.ccdd is not None:
            live, spoof = self.ccdd(reversed_ND, label_N)
            of_live, of_spoof = domain_N[label_N == 0], domain_N[label_N == 1]
            energies["live_domain"] = domain_energy(live, of_live)
            energies["spoof_domain"] = domain_energy(spoof, of_spoof)
            energies["ccdd_correct"] = correct_domains(live, of_live) + correct_domains(spoof, of_spoof)
        return energies


def distillation_energy(
    logits_N2: Tensor, teacher_N: Tensor, temperature: float, counts_N: Tensor | None = None
) -> Tensor:
    """How far a student's odds are from its teacher's, summed over the batch, in nats.

    Both log-odds of live are divided by the temperature; the cross-entropy of the two is taken over its least value,
    the teacher's own entropy, and multiplied by the temperature's square, which keeps the gradient's size (Hinton et
    al., "Distilling the Knowledge in a Neural Network", 2015).

    Args:
        logits_N2: the student's, order [live, spoof].
        teacher_N: the teacher's log-odds of live.
        temperature: above 0.
        counts_N: which of them count, all without it.
    """
    student_N = (logits_N2[:, 0] - logits_N2[:, 1]) / temperature
    teacher_N = teacher_N / temperature
    target_N = teacher_N.sigmoid()
    entropy_N, cross_N = (
        nn.functional.binary_cross_entropy_with_logits(odds_N, target_N, reduction="none")
        for odds_N in (teacher_N, student_N)
    )
    distance_N = cross_N - entropy_N
    return (distance_N if counts_N is None else distance_N[counts_N]).sum() * temperature**2


@torch.no_grad()
def mixed(labels: LivenessClassifier, marks: LivenessClassifier, share: float) -> LivenessClassifier:
    """The classifier whose logits are (1 - share) times those of `labels` and `share` times those of `marks`."""
    mean = copy.deepcopy(labels)
    mean.weight.lerp_(marks.weight, share)
    mean.bias.lerp_(marks.bias, share)
    return mean


class LivenessTask(nn.Module):
    """Every network of a run; a forward pass turns a batch into its energy.

    Images, Eq. (1): E = Σ_i L_c(θe, θc) + λ_IB (Σ_{b=0} L_l(θe, θf, θl) + Σ_{b=1} L_s(θe, θf, θs)); L_c is the
    live/spoof cross-entropy, L_l and L_s the domain cross-entropies of the live and the spoof head. With Dis, λ_IB Σ_i
    L_d is added. The encoder descends L_c and, through the GRL, ascends the domain terms at 0.2 times their gradient,
    while the discriminators descend them.

    Clips, Eq. (2): the same of the LSTM's last state, with λ_VB.

    Not in the paper: with `distillation`, Eq. (1) has the term λ_T Σ_i L_T(θe, θc) of `distillation_energy`; with
    `distillation_share` as well it is L_T(θe, θm), of a classifier θm for the teacher's marks alone.

    Args:
        encoder: shared by both.
        domains: K, the number of sources.
        config: which parts there are, their sizes and weights.

    Shape:
        image (N, 3, S, S) for images, (N, T, 3, S, S) for clips; label, domain and teacher (N,).
    """

    def __init__(self, encoder: Encoder, domains: int, config: TrainConfig) -> None:
        super().__init__()
        self.network = ImageNetwork(encoder, config.dropout)
        size = encoder.embedding_dim
        self.image_domains: _DomainEnergies | None = None
        self.temporal: TemporalHead | None = None
        self.clip_domains: _DomainEnergies | None = None
        # Discriminators last: what they draw for their weights must not change those of the networks they judge.
        if config.lstm:
            self.temporal = TemporalHead(size, config.lstm_hidden, config.dropout)
        if config.dis or config.dib:
            self.image_domains = _DomainEnergies(size, domains, config, plain=config.dis, conditional=config.dib)
        if config.dvb:
            self.clip_domains = _DomainEnergies(config.lstm_hidden, domains, config, plain=False, conditional=True)
        self.marks: LivenessClassifier | None = None
        self._share = config.distillation_share
        if self._share is not None:
            self.marks = LivenessClassifier(size)
        self._frozen = config.frozen
        if self._frozen:
            self.network.requires_grad_(False)
        self._weights = {4: config.lambda_ib, 5: config.lambda_vb}
        self._smoothing = config.label_smoothing
        self._distillation = config.distillation
        self._temperature = config.distillation_temperature
        self._right_marks_only = config.distillation_of == "right"

    def forward(self, image: Tensor, label: Tensor, domain: Tensor, teacher: Tensor | None = None) -> dict[str, Tensor]:
        """`loss` is E, the sum over the batch as in the paper; the loop decides whether to divide it.

        The other entries are for the log: sums as well, those named `*correct` counts.
        """
        if image.ndim == 4:
            feature_ND, _ = self.network.encoder(image)
            dropped_ND = self.network.dropout(feature_ND)
            logits_N2 = self.network.classifier(dropped_ND)
            marked_N2 = logits_N2 if self.marks is None else self.marks(dropped_ND)
            discriminators = self.image_domains
        else:
            if self.temporal is None:
                raise ValueError("a batch of clips needs a temporal head: set lstm")
            embedding_MD, _ = self.network.encoder(image.flatten(0, 1).contiguous(memory_format=torch.channels_last))
            feature_ND = self.temporal.summarise(embedding_MD.unflatten(0, image.shape[:2]))
            marked_N2 = logits_N2 = self.temporal.classifier(self.temporal.dropout(feature_ND))
            discriminators = self.clip_domains
        logits_N2 = logits_N2.float()
        loss = nn.functional.cross_entropy(logits_N2, label, reduction="sum", label_smoothing=self._smoothing)
        losses = {"class": loss.detach(), "correct": (logits_N2.argmax(1) == label).sum()}
        if teacher is not None and self._distillation:
            right_N = (teacher > 0) == (label == 0)
            counts_N = right_N if self._right_marks_only else None
            distilled = distillation_energy(marked_N2.float(), teacher, self._temperature, counts_N)
            losses["distilled"] = distilled.detach()
            loss = loss + self._distillation * distilled
        if discriminators is not None:
            terms = discriminators(feature_ND, label, domain)
            for name, value in terms.items():
                if not name.endswith("correct"):
                    loss = loss + self._weights[image.ndim] * value
                losses[name] = value.detach()
        return {"loss": loss, **losses}

    def scoring_network(self) -> ImageNetwork:
        """A copy of what a photo is scored by: with a classifier for the marks, the mean of both in its place."""
        network = copy.deepcopy(self.network)
        if self.marks is not None and self._share is not None:
            network.classifier = mixed(self.network.classifier, self.marks, self._share)
        return network

    def train(self, mode: bool = True) -> Self:
        """As always, but that frozen networks stay in evaluation mode: batch norms would learn without a gradient."""
        super().train(mode)
        if self._frozen:
            self.network.eval()
        return self

    def advance(self) -> None:
        """Tell that an iteration is over: the reversal's ramp goes on."""
        for each in (self.image_domains, self.clip_domains):
            if each is not None:
                each.reversal.advance()
