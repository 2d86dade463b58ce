"""A backbone with exits: the model that is tuned, merged and exported."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgeexit.dmpo.exit import Exit
from edgeexit.dmpo.families.base import Backbone


class MultiExitModel(nn.Module):
    """Runs the trunk block by block and asks an exit after some of the blocks.

    Args:
        backbone: The trunk, cut off after the last exit's block.
        exits: The exits, first to last.
        after: Number of the block (from 1) that each exit follows, ascending.
        preprocess: Applied to the first input, e.g. the scaling of uint8 pixels.
    """

    def __init__(
        self,
        backbone: Backbone,
        exits: Sequence[Exit],
        after: Sequence[int],
        preprocess: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone
        self.exits = nn.ModuleList(exits)
        self.after = tuple(after)

    def forward(self, *inputs: Tensor, separate: bool = False) -> tuple[Tensor, ...]:
        """Return the ``(B, classes)`` logits of every exit, first to last.

        Args:
            inputs: One tensor an input of the backbone, in its order.
            separate: Let no gradient flow from one segment (the blocks between two exits) back
                into the one before it, as SWEET does (arXiv 2306.02307, section 4).
        """
        if self.preprocess is not None:
            inputs = (self.preprocess(inputs[0]), *inputs[1:])
        hidden = self.backbone.start(*inputs)
        logits: list[Tensor] = []
        for number in range(1, self.after[-1] + 1):
            hidden = self.backbone.block(number, hidden)
            if number == self.after[len(logits)]:
                logits.append(self.exits[len(logits)](self.backbone.features(hidden)))
                if separate:
                    hidden = hidden.detached()
        return tuple(logits)
