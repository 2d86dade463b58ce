"""What a backbone family is: a trunk that runs block by block and shows its features as tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from edgeexit.errors import InputError

Modality = Literal["text", "image"]
Pooling = Literal["first", "mean"]


@dataclass(frozen=True)
class InputShape:
    """One input of a backbone.

    Attributes:
        name: Name in the exported graph, e.g. ``input_ids``.
        shape: Sizes without the batch; a text's is the length that it is padded to.
        dtype: ``int64``, ``float32`` or ``uint8``.
        count: How many values there are, 0 to ``count - 1``, e.g. the size of the vocabulary;
            None where every one is taken.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    count: int | None = None


@dataclass(frozen=True)
class Hidden:
    """What one block hands to the next.

    Attributes:
        values: ``(B, T, d)`` tokens or ``(B, C, H, W)`` maps, as the trunk holds them.
        bias: What the trunk's attention adds to its scores, ``(B, 1, 1, T)``, or None.
        mask: ``(B, T) float32``, 1 for a token and 0 for padding, or None.
    """

    values: Tensor
    bias: Tensor | None = None
    mask: Tensor | None = None

    def detached(self) -> Hidden:
        """Return the same values, through which no gradient flows back."""
        return Hidden(self.values.detach(), self.bias, self.mask)


@dataclass(frozen=True)
class Features:
    """What an exit sees of a block's output; maps are shown as one token a position.

    Attributes:
        tokens: ``(B, T, d)``.
        mask: ``(B, T) float32``, or None where every token counts.
        prefix: How many leading tokens are class tokens and no part of the picture.
        grid: ``(H, W)`` of the tokens after the prefix; None for a text.
        pooling: ``first``: the first token sums up the sample; ``mean``: the average of all.
    """

    tokens: Tensor
    mask: Tensor | None
    prefix: int
    grid: tuple[int, int] | None
    pooling: Pooling


class Backbone(nn.Module, ABC):
    """A trunk cut at its blocks. Blocks are numbered from 1; the stem belongs to the first.

    Attributes:
        modality: ``text`` or ``image``.
        depth: Number of blocks.
        inputs: Its inputs, in the order in which :meth:`start` takes them.
        lora_targets: Endings of the names of the linear (or convolution) layers that LoRA adapts
            unless the user names others.
    """

    modality: Modality
    depth: int
    inputs: tuple[InputShape, ...]
    lora_targets: tuple[str, ...]

    @abstractmethod
    def start(self, *inputs: Tensor) -> Hidden:
        """Return what the first block reads, for inputs in the order of ``inputs``."""

    @abstractmethod
    def block(self, number: int, hidden: Hidden) -> Hidden:
        """Return the output of block ``number`` (from 1), not normalised."""

    @abstractmethod
    def features(self, hidden: Hidden) -> Features:
        """Return a block's output as tokens."""

    @abstractmethod
    def width(self, number: int) -> int:
        """Return the width d of the tokens after block ``number``."""

    @abstractmethod
    def tokens(self, number: int) -> int:
        """Return how many tokens (without class tokens) an exit sees after block ``number``.

        For a text this is the length that it is padded to.
        """

    @abstractmethod
    def truncate(self, depth: int) -> None:
        """Drop every block beyond ``depth``."""

    def resize(self, height: int, width: int) -> None:
        """Take images of ``height`` x ``width``; a trunk that is bound to one size refuses others.

        Raises:
            InputError: The trunk takes another size, or no images.
        """
        own = self.inputs[0].shape[1:]
        if self.modality != "image" or own != (height, width):
            images = self.modality == "image"
            takes = f"images of {own}" if images else "texts"
            raise InputError(
                f"images of {height, width} do not fit the backbone, which takes {takes}.",
                hint=f"{f'set data.size = {list(own)}, or ' * images}take another backbone.",
                code="input.image-size",
            )

    def final_norm(self, number: int) -> nn.Module | None:
        """Return a copy of the pretrained final norm that fits block ``number``, if any."""
        del number
        return None


class Family(ABC):
    """Builds the backbones of one architecture. A third party adds one in one file.

    Attributes:
        name: What ``[backbone] family`` says.
        model_types: Values of ``model_type`` in a transformers ``config.json`` that it reads.
    """

    name: str
    model_types: Sequence[str] = ()

    @abstractmethod
    def pretrained(self, source: str, revision: str | None, *, length: int) -> Backbone:
        """Load a backbone from a local folder or by hub name.

        Args:
            source: The folder, or the hub name.
            revision: Branch, tag or commit of a hub model.
            length: Tokens a text is padded to; images ignore it.

        Raises:
            ModelError: It cannot be loaded, or is not of this family.
        """

    @abstractmethod
    def from_scratch(self, settings: dict[str, Any], *, length: int) -> Backbone:
        """Build a backbone with random weights.

        Args:
            settings: Arguments of the architecture; see the family's file.
            length: Tokens a text is padded to; images ignore it.

        Raises:
            InputError: A setting is unknown or out of range.
        """
