"""The paper's method: the energies of its image-based and video-based networks, Eq. (1) and Eq. (2).

One encoder is shared. A batch of images gives Eq. (1), a batch of clips Eq. (2); the loop alternates between them.
"""

import copy
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from liveness_training.config import TrainConfig
from liveness_training.data.batch import Batch
from liveness_training.loop.trainer import Task
from liveness_training.models.network import Encoder, ImageNetwork, LivenessClassifier, TemporalHead
from liveness_training.models.normalised import normalise_classes
from liveness_training.models.style_mixing import StyleMixing
from liveness_training.tasks.energies import DomainEnergies, distillation_energy, weighted_mean
from liveness_training.tasks.triplets import asymmetric_triplet_energy

# N images or clips, M = N · T frames of clips, S crop size, D embedding, H hidden state


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What the networks make of a batch."""

    feature_ND: Tensor
    """What the discriminators see: embeddings of images, last states of the LSTM for clips."""
    logits_N2: Tensor
    """Learns from the labels."""
    student_N2: Tensor
    """Learns from the teacher; the same as `logits_N2` without a distillation head."""
    discriminators: DomainEnergies | None
    patch_NP2: Tensor | None = None
    """Logits of each of P places of the last feature map; None where only the whole picture has a label."""

    def of(self, counted_N: Tensor) -> "_Outputs":
        """Those of the images or clips that count."""
        patch_NP2 = None if self.patch_NP2 is None else self.patch_NP2[counted_N]
        return replace(
            self,
            feature_ND=self.feature_ND[counted_N],
            logits_N2=self.logits_N2[counted_N],
            student_N2=self.student_N2[counted_N],
            patch_NP2=patch_NP2,
        )


class LivenessTask(Task):
    """All networks of a run; a forward pass turns a batch into its energy.

    Images, Eq. (1): E = Σ_i L_c(θe, θc) + λ_IB (Σ_{b=0} L_l(θe, θf, θl) + Σ_{b=1} L_s(θe, θf, θs)); L_c is the
    live/spoof cross-entropy, L_l and L_s the domain cross-entropies of the live and the spoof head. With Dis, λ_IB Σ_i
    L_d is added. The encoder descends L_c and, through the GRL, ascends the domain terms at 0.2 times their gradient,
    while the discriminators descend them.

    Clips, Eq. (2): the same for the last state of the LSTM, with λ_VB.

    Not in the paper: `distillation` adds the term λ_T Σ_i L_T(θe, θc) of `distillation_energy` to Eq. (1). With
    `distillation_share` as well the term is L_T(θe, θt): a distillation head θt beside the classifier θc learns from
    the teacher, and θc from the labels alone. `single_side` and `triplet` add the terms of SSDG, `style_mixing`
    changes what the encoder computes in training.

    Args:
        encoder: shared by images and clips.
        domains: K, the number of sources.
        config: which parts there are, their sizes and weights.
    """

    def __init__(self, encoder: Encoder, domains: int, config: TrainConfig) -> None:
        super().__init__()
        self.network = ImageNetwork(encoder, config.dropout, feature_scale=config.feature_scale)
        self._lower_stages = encoder.lower_stages if config.style_mixing != "none" else ()
        self._styles = StyleMixing(config.style_mixing, config.style_mixing_probability, config.style_mixing_alpha)
        size = encoder.embedding_dim
        self.image_domains: DomainEnergies | None = None
        self.temporal: TemporalHead | None = None
        self.clip_domains: DomainEnergies | None = None
        # Discriminators last: what they draw for their weights must not change those of the networks they judge.
        if config.lstm:
            self.temporal = TemporalHead(size, config.lstm_hidden, config.dropout)
        if config.dis or config.dib or config.single_side:
            self.image_domains = DomainEnergies(
                size, domains, config, plain=config.dis, conditional=config.dib, single_side=config.single_side
            )
        if config.dvb:
            self.clip_domains = DomainEnergies(config.lstm_hidden, domains, config, conditional=True)
        self._share = config.distillation_share
        # `marks` is the name of the distillation head in the checkpoints of earlier versions, which must still load.
        self.register_module("marks", None if self._share is None else LivenessClassifier(size))
        self._frozen = config.frozen
        if self._frozen:
            self.network.requires_grad_(False)
        self._unit_classes = config.feature_scale is not None and not self._frozen
        if self._unit_classes:
            self.network.classifier.bias.requires_grad_(False)
            normalise_classes(self.network.classifier)
        self._lambda_ib = config.lambda_ib
        self._lambda_vb = config.lambda_vb
        self._smoothing = config.label_smoothing
        self._patch_labels = config.patch_labels
        self._triplet = config.triplet
        self._triplet_margin = config.triplet_margin
        self._distillation = config.distillation
        self._temperature = config.distillation_temperature
        self._right_only = config.distillation_of == "right"

    @property
    def distillation_head(self) -> LivenessClassifier | None:
        """The classifier that learns from the teacher alone; None where teacher and labels share one."""
        head = self._modules["marks"]
        assert head is None or isinstance(head, LivenessClassifier)
        return head

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`loss` is E, summed over the batch as in the paper; the other entries are its terms and counts, for the log.

        Raises:
            ValueError: the batch holds clips and there is no temporal head.
        """
        outputs = self._of_clips(batch.image) if batch.holds_clips else self._of_images(batch)
        if batch.counted is not None:
            outputs, batch = outputs.of(batch.counted), batch.counted_alone()
        logits_N2 = outputs.logits_N2.float()
        loss = self._of_labels(logits_N2, batch.label, outputs.patch_NP2)
        losses = {"class": loss.detach(), "correct": (logits_N2.argmax(1) == batch.label).sum()}
        if batch.teacher is not None and self._distillation:
            right_N = (batch.teacher > 0) == (batch.label == 0)
            counts_N = right_N if self._right_only else None
            distilled = distillation_energy(outputs.student_N2.float(), batch.teacher, self._temperature, counts_N)
            losses["distilled"] = distilled.detach()
            loss = loss + self._distillation * distilled
        if outputs.discriminators is not None:
            terms = outputs.discriminators(outputs.feature_ND, batch.label, batch.domain)
            for name, value in terms.items():
                if not name.endswith("correct"):
                    loss = loss + (self._lambda_vb if batch.holds_clips else self._lambda_ib) * value
                losses[name] = value.detach()
        if self._triplet and not batch.holds_clips:
            energy = asymmetric_triplet_energy(outputs.feature_ND, batch.label, batch.domain, self._triplet_margin)
            losses["triplet"] = energy.detach()
            loss = loss + self._triplet * energy
        return {"loss": loss, **losses}

    def _of_labels(self, logits_N2: Tensor, label_N: Tensor, patch_NP2: Tensor | None) -> Tensor:
        """Cross-entropy of the pictures, or the mean of their places', summed over the batch."""
        if patch_NP2 is None:
            return nn.functional.cross_entropy(logits_N2, label_N, reduction="sum", label_smoothing=self._smoothing)
        places = patch_NP2.shape[1]
        of_places = nn.functional.cross_entropy(
            patch_NP2.float().flatten(0, 1),
            label_N.repeat_interleave(places),
            reduction="sum",
            label_smoothing=self._smoothing,
        )
        return of_places / places

    def _of_images(self, batch: Batch) -> "_Outputs":
        with self._styles.within(self._lower_stages, batch.label, batch.domain):
            feature_ND, features_NDhw = self.network.encoder(batch.image)
        patch_NP2 = None
        if self._patch_labels:
            patch_NP2 = self.network.classifier(self.network.dropout(features_NDhw.flatten(2).transpose(1, 2)))
        dropped_ND = self.network.dropout(feature_ND)
        logits_N2 = self.network.classifier(dropped_ND)
        head = self.distillation_head
        student_N2 = logits_N2 if head is None else head(dropped_ND)
        return _Outputs(feature_ND, logits_N2, student_N2, self.image_domains, patch_NP2)

    def _of_clips(self, clip_NT3SS: Tensor) -> "_Outputs":
        if self.temporal is None:
            raise ValueError("a batch of clips needs a temporal head: set lstm")
        frames_M3SS = clip_NT3SS.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        embedding_MD, _ = self.network.encoder(frames_M3SS)
        feature_NH = self.temporal.summarise(embedding_MD.unflatten(0, clip_NT3SS.shape[:2]))
        logits_N2 = self.temporal.classifier(self.temporal.dropout(feature_NH))
        return _Outputs(feature_NH, logits_N2, logits_N2, self.clip_domains)

    def scoring_network(self) -> ImageNetwork:
        """A copy of the network that scores photos; its classifier is the mean of both where there are two."""
        network = copy.deepcopy(self.network)
        head = self.distillation_head
        if head is not None and self._share is not None:
            network.classifier = weighted_mean(self.network.classifier, head, self._share)
        return network

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen networks stay in evaluation mode, since batch norms learn without a gradient."""
        super().train(mode)
        if self._frozen:
            self.network.eval()
        return self

    def advance(self) -> None:
        """End an iteration: the ramp of the gradient reversal goes on, class weights get their length back."""
        if self._unit_classes:
            normalise_classes(self.network.classifier)
        for domains in (self.image_domains, self.clip_domains):
            if domains is not None:
                domains.reversal.advance()
