"""Style mixing (MixStyle; Zhou et al., "Domain Generalization with MixStyle", ICLR 2021): pictures lend each other the
look of their camera while the network learns.

The style of a picture is the mean and the standard deviation over the places of each channel of a low feature map. In
training it is replaced by a mixture with that of another picture of the batch; labels stay as they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

# N pictures, C channels, h x w feature map

Partners = Literal["none", "random", "cross_domain", "same_label"]

_EPSILON = 1e-6


class StyleMixing:
    """Mixes the styles of a batch in the output of some layers.

    Args:
        partners: which picture lends its style: `random` any other one; `cross_domain` one of another domain, the
            paper's choice where domains are known; `same_label` one with the same label, which the paper does not
            have: what tells paper and screens from skin is style too, and a spoof's style on a live picture would
            teach otherwise (the argument of SSAN; Wang et al., CVPR 2022).
        probability: that a layer mixes at a pass; 0.5 in the paper.
        alpha: of the distribution Beta(α, α) of the share that a picture keeps of its own style; 0.1 in the paper.
    """

    def __init__(self, partners: Partners, probability: float, alpha: float) -> None:
        self._partners = partners
        self._probability = probability
        self._alpha = alpha

    @contextmanager
    def within(self, layers: Sequence[nn.Module], label_N: Tensor, domain_N: Tensor) -> Iterator[None]:
        """Mix the outputs of these layers, of a batch with these labels and domains, while the context is open.

        Layers in evaluation mode do not mix.
        """

        def mix(layer: nn.Module, _given: Any, output_NChw: Tensor) -> Tensor | None:
            return self(output_NChw, label_N, domain_N) if layer.training else None

        with ExitStack() as hooks:
            for layer in layers:
                hooks.callback(layer.register_forward_hook(mix).remove)
            yield

    def __call__(self, x_NChw: Tensor, label_N: Tensor, domain_N: Tensor) -> Tensor:
        """σ_mix · (x − μ) / σ + μ_mix, or x itself where this pass draws so; shape (N, C, h, w).

        μ_mix = λ μ + (1 − λ) μ', and σ_mix likewise, with the μ' and σ' of the partner and one λ for each picture. No
        gradient goes through the statistics. Eq. (5) to (7) of the paper.
        """
        # All draws are made on the processor, by the generator that the loop seeds.
        if torch.rand(()) >= self._probability:
            return x_NChw
        share_N = torch.distributions.Beta(self._alpha, self._alpha).sample((len(x_NChw),))
        partner_N = self._draw_partners(label_N.cpu(), domain_N.cpu()).to(x_NChw.device)
        return mixed(x_NChw, partner_N, share_N.to(x_NChw.device))

    def _draw_partners(self, label_N: Tensor, domain_N: Tensor) -> Tensor:
        """The row that lends its style to each row; a row that has no partner keeps its own."""
        rows_N = torch.arange(len(label_N))
        if self._partners == "random":
            return torch.randperm(len(rows_N))
        if self._partners == "cross_domain":
            allowed_NN = domain_N[:, None] != domain_N[None]
        else:
            allowed_NN = (label_N[:, None] == label_N[None]) & (rows_N[:, None] != rows_N[None])
        allowed_NN = allowed_NN | (torch.diag(~allowed_NN.any(1)))
        return torch.multinomial(allowed_NN.float(), 1).squeeze(1)


def mixed(x_NChw: Tensor, partner_N: Tensor, share_N: Tensor) -> Tensor:
    """Features with a mixture of their own style and their partners'.

    Args:
        x_NChw: features.
        partner_N: row of each one's partner.
        share_N: share of the own style, 0 to 1.
    """
    wide_NChw = x_NChw.float()
    with torch.no_grad():
        variance_NC11, mean_NC11 = torch.var_mean(wide_NChw, (2, 3), keepdim=True)
        spread_NC11 = (variance_NC11 + _EPSILON).sqrt()
        share_N111 = share_N.view(-1, 1, 1, 1)
        new_mean_NC11, new_spread_NC11 = (
            share_N111 * own + (1 - share_N111) * own[partner_N] for own in (mean_NC11, spread_NC11)
        )
    return ((wide_NChw - mean_NC11) / spread_NC11 * new_spread_NC11 + new_mean_NC11).to(x_NChw.dtype)
