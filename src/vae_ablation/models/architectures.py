"""The registry of architectures: what each needs, how large it is, and its networks."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.data.base import Observed
from vae_ablation.models.shapes import KERNEL, halved

if TYPE_CHECKING:
    from torch import nn

Options = Mapping[str, Any]


class Architecture(ABC):
    """A pair of networks, x → parameters of q(z given x) and z → parameters of p(x given z).

    Attributes:
        name: what the config calls it.
        options: keys of the config's model section that it reads.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = (
        *("hidden", "activation", "center"),
        *("layer_norm", "dropout", "skip"),
    )

    def reads(self, options: Options) -> Collection[str]:
        """Those of its options that change anything under these settings."""
        unused = set() if options["hidden"] else {"layer_norm", "dropout", "skip"}
        return {*self.options} - unused

    def unsupported(self, observed: Observed, options: Options) -> str | None:
        """Why the data do not fit this architecture, or None."""
        return None

    @abstractmethod
    def encoder(
        self, observed: Observed, condition: int, outputs: int, options: Options
    ) -> nn.Module:
        """Network from x [..., dims] and its condition [..., condition] to [..., outputs]."""

    @abstractmethod
    def decoder(self, observed: Observed, inputs: int, outputs: int, options: Options) -> nn.Module:
        """Network from z and condition [..., inputs] to [..., outputs]."""

    @abstractmethod
    def size(
        self, observed: Observed, latent_dim: int, outputs: int, options: Options
    ) -> tuple[int, int]:
        """Weights of both networks, and floats that one example leaves in them on its way."""


class Mlp(Architecture):
    """Dense layers; the decoder mirrors the encoder."""

    name = "mlp"

    def reads(self, options: Options) -> Collection[str]:
        """Without hidden layers there is nothing to activate."""
        read = {*super().reads(options)}
        return read if options["hidden"] else read - {"activation"}

    def encoder(
        self, observed: Observed, condition: int, outputs: int, options: Options
    ) -> nn.Module:
        """See Architecture."""
        from vae_ablation.models.networks import dense

        return dense([observed.dims + condition, *options["hidden"], outputs], options)

    def decoder(self, observed: Observed, inputs: int, outputs: int, options: Options) -> nn.Module:
        """See Architecture."""
        from vae_ablation.models.networks import dense

        return dense([inputs, *reversed(options["hidden"]), outputs], options, skip=True)

    def size(
        self, observed: Observed, latent_dim: int, outputs: int, options: Options
    ) -> tuple[int, int]:
        """See Architecture."""
        hidden = options["hidden"]
        encoder = [observed.dims, *hidden, 2 * latent_dim]
        decoder = [latent_dim, *reversed(hidden), outputs]
        return _dense_weights(encoder) + _dense_weights(decoder), sum(encoder) + 4 * sum(decoder)


class Conv(Architecture):
    """Strided convolutions (4×4, stride 2), then the dense layers; the decoder mirrors them."""

    name = "conv"
    options: ClassVar[tuple[str, ...]] = (*Architecture.options, "channels")

    def blocks(self, options: Options) -> int:
        """Residual blocks at each resolution."""
        return 0

    def unsupported(self, observed: Observed, options: Options) -> str | None:
        """Only images whose sides can be halved once per layer."""
        layers = len(options["channels"])
        if options.get("skip"):
            return f"architecture {self.name} has no skip connections from z (model.skip)"
        if not observed.is_image:
            shape = "×".join(map(str, observed.shape))
            return f"architecture {self.name} needs images, and an example has the shape {shape}"
        if min(observed.shape[:2]) < 2**layers:
            sides = "×".join(map(str, observed.shape[:2]))
            return (
                f"architecture {self.name} halves the sides {layers} times (model.channels) and "
                f"needs at least {2**layers} pixels a side; the images have {sides}"
            )
        return None

    def encoder(
        self, observed: Observed, condition: int, outputs: int, options: Options
    ) -> nn.Module:
        """See Architecture; the condition joins where the dense layers begin."""
        from vae_ablation.models.networks import ConvolutionsDown

        sides = halved(observed.shape, len(options["channels"]))
        widths = [*options["hidden"], outputs]
        channels = [observed.channels, *options["channels"]]
        blocks = self.blocks(options)
        return ConvolutionsDown(sides, channels, widths, options, condition, blocks)

    def decoder(self, observed: Observed, inputs: int, outputs: int, options: Options) -> nn.Module:
        """See Architecture; the picture's channels come out, whatever `outputs`."""
        from vae_ablation.models.networks import ConvolutionsUp

        sides = halved(observed.shape, len(options["channels"]))
        widths = [inputs, *reversed(options["hidden"])]
        channels = [*options["channels"][::-1], observed.channels]
        return ConvolutionsUp(sides[::-1], channels, widths, options, self.blocks(options))

    def size(
        self, observed: Observed, latent_dim: int, outputs: int, options: Options
    ) -> tuple[int, int]:
        """See Architecture."""
        channels = [observed.channels, *options["channels"]]
        sides = halved(observed.shape, len(options["channels"]))
        pixels = [height * width for height, width in sides]
        features = channels[-1] * pixels[-1]
        dense = [features, *options["hidden"], 2 * latent_dim]
        kernels = sum(a * b * KERNEL**2 + b for a, b in itertools.pairwise(channels))
        blocks = self.blocks(options)
        kernels += sum(2 * blocks * (9 * width * width + width) for width in channels[1:])
        maps = [max(c, 16) * p for c, p in zip(channels, pixels, strict=True)]
        passed = sum(maps) + 4 * blocks * sum(maps[1:]) + sum(dense)
        return 2 * (kernels + _dense_weights(dense)), 5 * passed


class ResNet(Conv):
    """As conv, with residual blocks at each resolution (He et al. 2016), without normalisation."""

    name = "resnet"
    options = (*Conv.options, "blocks")

    def blocks(self, options: Options) -> int:
        """As the model section says."""
        return int(options["blocks"])


class ProductOfExperts(Mlp):
    """One encoder for RNA and one for proteins; their posteriors and the prior are multiplied.

    A modality that is missing has no expert (Wu and Goodman 2018).
    """

    name = "poe"

    def unsupported(self, observed: Observed, options: Options) -> str | None:
        """Two modalities."""
        for key in ("layer_norm", "dropout"):
            if options.get(key):
                return f"architecture poe has no {key} (model.{key})"
        if observed.proteins:
            return None
        return (
            "architecture poe needs RNA and proteins of the same cells, and there are no proteins"
        )

    def encoder(
        self, observed: Observed, condition: int, outputs: int, options: Options
    ) -> nn.Module:
        """See Architecture."""
        from vae_ablation.models.networks import Experts

        sizes = (observed.genes, observed.proteins)
        widths = [*options["hidden"], outputs]
        return Experts(sizes, condition, widths, options["activation"])


def _dense_weights(widths: Sequence[int]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(widths))


ARCHITECTURES: dict[str, Architecture] = {
    one.name: one() for one in (Mlp, Conv, ResNet, ProductOfExperts)
}
