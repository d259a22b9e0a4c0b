"""The registry of architectures: what each needs, how large it is, and its networks."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from vae_ablation.common.registry import Options as PartOptions
from vae_ablation.common.registry import Registry, register
from vae_ablation.data.base import Observed
from vae_ablation.models.shapes import KERNEL, halved

if TYPE_CHECKING:
    from torch import nn

Options = Mapping[str, Any]


ARCHITECTURES: Registry[Architecture] = Registry("architecture")

_DENSE = ("hidden", "activation", "center", "layer_norm", "dropout", "skip")
"""Settings of dense layers."""


class Architecture(ABC):
    """A pair of networks, x → parameters of q(z given x) and z → parameters of p(x given z).

    Any `nn.Module` will do that maps rows, [n, inputs] to [n, outputs]: x flattened, the condition
    beside it. Those that `torch.func` can batch are trained in packs; the others (running
    statistics, draws from the global stream, steps that depend on values) are found by trying, and
    train alone.

    Attributes:
        name: what the config calls it.
        options: settings that it reads, in the config's model section.
        padded: whether its networks take weights that are wider than their own (`StackedVAE`), and
            x and its condition with any leading axes, as those of the package do.
        packable: False for networks that must train alone; True leaves it to a trial.
    """

    registry: ClassVar[Registry[Architecture]] = ARCHITECTURES
    name: ClassVar[str]
    options: ClassVar[PartOptions] = ()
    padded: ClassVar[bool] = False
    packable: ClassVar[bool] = True

    def reads(self, options: Options) -> Collection[str]:
        """Keys of the model section that change anything under these settings."""
        return {*self.options, "center"}

    def unsupported(self, observed: Observed, options: Options) -> str | None:
        """Why the data do not fit this architecture, or None."""
        return None

    @abstractmethod
    def encoder(
        self, observed: Observed, condition: int, outputs: int, options: Options
    ) -> nn.Module:
        """Network from x and its condition, [n, dims + condition], to [n, outputs]."""

    @abstractmethod
    def decoder(self, observed: Observed, inputs: int, outputs: int, options: Options) -> nn.Module:
        """Network from z and condition, [n, inputs], to [n, outputs]."""

    def size(
        self, observed: Observed, latent_dim: int, outputs: int, options: Options
    ) -> tuple[int, int]:
        """Weights of both networks, and floats that one example leaves in them on its way.

        Counted by a forward pass on the meta device, which takes no memory.
        """
        from vae_ablation.models.networks import measured_size

        encoder, decoder = (
            measured_size(make, inputs)
            for make, inputs in (
                (lambda: self.encoder(observed, 0, 2 * latent_dim, options), observed.dims),
                (lambda: self.decoder(observed, latent_dim, outputs, options), latent_dim),
            )
        )
        return encoder[0] + decoder[0], encoder[1] + 4 * decoder[1]


@register
class Mlp(Architecture):
    """Dense layers; the decoder mirrors the encoder."""

    name = "mlp"
    options: ClassVar[PartOptions] = _DENSE
    padded = True

    def reads(self, options: Options) -> Collection[str]:
        """Without hidden layers there is nothing to activate."""
        read = _reads_dense(super().reads(options), options)
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
        weights = _dense_weights(encoder) + _dense_weights(decoder)
        weights += latent_dim * sum(decoder[2:]) if options.get("skip") else 0
        return weights, sum(encoder) + 4 * sum(decoder)


@register
class Conv(Architecture):
    """Strided convolutions (4×4, stride 2), then the dense layers; the decoder mirrors them."""

    name = "conv"
    options: ClassVar[PartOptions] = (*_DENSE, "channels")
    padded = True

    def reads(self, options: Options) -> Collection[str]:
        """Without hidden layers there is nothing to normalise or to drop."""
        return _reads_dense(super().reads(options), options) | {"skip"}

    def blocks(self, options: Options) -> int:
        """Residual blocks at each resolution."""
        return 0

    def unsupported(self, observed: Observed, options: Options) -> str | None:
        """Only images whose sides can be halved once per layer."""
        layers = len(options["channels"])
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
        weights = 2 * (kernels + _dense_weights(dense))
        if options.get("skip"):
            up = KERNEL**2 * sum(channels[:-1]) + 9 * blocks * sum(channels[1:])
            weights += latent_dim * (up + features + sum(options["hidden"][:-1]))
            passed += latent_dim * (1 + blocks) * sum(pixels[1:])
        return weights, 5 * passed


@register
class ResNet(Conv):
    """As conv, with residual blocks at each resolution (He et al. 2016), without normalisation."""

    name = "resnet"
    options: ClassVar[PartOptions] = (*_DENSE, "channels", "blocks")

    def blocks(self, options: Options) -> int:
        """As the model section says."""
        return int(options["blocks"])


@register
class ProductOfExperts(Mlp):
    """One encoder for RNA and one for proteins; their posteriors and the prior are multiplied.

    A modality that is missing has no expert (Wu and Goodman 2018).
    """

    name = "poe"

    def unsupported(self, observed: Observed, options: Options) -> str | None:
        """Two modalities."""
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
        return Experts(sizes, condition, widths, options)


def _reads_dense(names: Collection[str], options: Options) -> set[str]:
    """Those of some settings that change anything, with hidden layers or without."""
    return {*names} - (set() if options["hidden"] else {"layer_norm", "dropout", "skip"})


def _dense_weights(widths: Sequence[int]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(widths))
