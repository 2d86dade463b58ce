"""LoRA on a backbone, by peft: added before tuning, merged into plain layers after it."""

from __future__ import annotations

from collections.abc import Sequence

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from edgeexit.dmpo.config import AdapterConfig
from edgeexit.dmpo.families.base import Backbone
from edgeexit.errors import InputError


def add_lora(backbone: Backbone, config: AdapterConfig) -> Backbone:
    """Put low-rank matrices beside a backbone's layers and freeze everything else of it.

    A layer ``W x`` becomes ``W x + s B A x`` with ``A`` of ``(rank, inputs)``, random, and ``B``
    of ``(outputs, rank)``, zero, so that the backbone's answer is unchanged at first (LoRA, Hu et
    al. 2021, eq. 3). The scale ``s`` is ``alpha / rank``, or 1 where ``alpha`` is None.

    Args:
        backbone: Changed in place; blocks to be cut off must be gone already.
        config: Rank, scale, dropout and targets; its ``kind`` is not read.

    Returns:
        The backbone; of its parameters only the low-rank matrices ask for gradients.

    Raises:
        InputError: A target is no ending of the name of a linear layer or of a plain convolution.
    """
    names = _target_layers(backbone, config.targets or backbone.lora_targets)
    lora = LoraConfig(
        r=config.rank,
        # peft divides by the rank and takes fractions, whatever its annotation says.
        lora_alpha=config.rank if config.alpha is None else config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=names,
        bias="none",
    )
    inject_adapter_in_model(lora, backbone)
    return backbone


def merge_lora(backbone: Backbone) -> Backbone:
    """Add the low-rank matrices to the weights they lie beside and take them away.

    Args:
        backbone: Changed in place; one without LoRA stays as it is.

    Returns:
        The backbone, with plain layers only; parameters stay frozen or not, as they were.
    """
    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)  # refuses NaN instead of destroying the weights
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, module.get_base_layer())
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config
    return backbone


def _target_layers(backbone: Backbone, targets: Sequence[str]) -> list[str]:
    """Return the full names of the layers whose names end in one of the targets."""
    layers = [name for name, module in backbone.named_modules() if _adaptable(module)]
    found = {t: [n for n in layers if n == t or n.endswith(f".{t}")] for t in targets}
    for target, names in found.items():
        if not names:
            endings = sorted({name.rpartition(".")[2] for name in layers})
            raise InputError(
                f"{target!r} is no linear layer or convolution of this backbone; it has "
                f"{', '.join(endings)}.",
                hint="name endings of these under targets in [adapter], or leave targets out.",
                code="input.lora-target",
            )
    return sorted({name for names in found.values() for name in names})


def _adaptable(module: nn.Module) -> bool:
    """Return whether a layer can take LoRA: a grouped convolution has no single low rank."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
