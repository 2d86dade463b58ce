"""BERT and what shares its blocks: MiniLM, RoBERTa. Post-norm, so no final norm is copied."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from edgeexit.dmpo.families.base import Backbone, Family, Features, Hidden, InputShape
from edgeexit.dmpo.families.loading import bad_setting, fresh_config, fresh_model, load_model
from edgeexit.errors import InputError, ModelError

PADDING_BIAS = -1e4
"""What padding adds to a score: exp(-1e4) is 0 in float32, and float16 still holds the number."""

MODELS: dict[str, type[PreTrainedModel]] = {"bert": BertModel, "roberta": RobertaModel}
CONFIGS: dict[str, type[PreTrainedConfig]] = {"bert": BertConfig, "roberta": RobertaConfig}
SETTINGS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("max_position_embeddings", "type_vocab_size", "pad_token_id", "layer_norm_eps"),
    "initializer_range",
)


class BertBackbone(Backbone):
    """The embeddings and layers of a BERT; a block is one layer.

    Texts are padded on the right; every token is of the first segment (type 0).

    Args:
        model: A ``BertModel`` or ``RobertaModel``; its modules are taken over.
        length: Tokens a text is padded to.

    Raises:
        InputError: The model has fewer positions than ``length``.
        ModelError: A RoBERTa does not say where its positions begin.
    """

    modality = "text"
    lora_targets = ("query", "value", "intermediate.dense", "output.dense")
    positions: Tensor
    types: Tensor

    def __init__(self, model: PreTrainedModel, length: int) -> None:
        super().__init__()
        config = model.config
        self.embeddings = cast(nn.Module, model.embeddings)
        self.layers = cast(nn.ModuleList, cast(nn.Module, model.encoder).layer)
        self.depth = len(self.layers)
        self._width: int = config.hidden_size
        self._length = length
        self.inputs = (
            InputShape("input_ids", (length,), "int64", count=config.vocab_size),
            InputShape("attention_mask", (length,), "int64", count=2),
        )
        first = _first_position(config)
        _require_positions(config.max_position_embeddings - first, length)
        self.register_buffer("positions", torch.arange(first, first + length)[None], False)
        self.register_buffer("types", torch.zeros(1, length, dtype=torch.int64), False)

    def start(self, *inputs: Tensor) -> Hidden:
        """Embed ``input_ids`` and ``attention_mask``, both ``(B, T) int64``, T up to the length."""
        ids, attention = inputs
        size = ids.shape[1]
        values = self.embeddings(
            input_ids=ids,
            position_ids=self.positions[:, :size],
            token_type_ids=self.types[:, :size],
        )
        mask = attention.to(torch.float32)
        bias = ((1.0 - mask) * PADDING_BIAS)[:, None, None, :]
        return Hidden(values, bias, mask)

    def block(self, number: int, hidden: Hidden) -> Hidden:
        """Return the output of layer ``number``, ``(B, T, d)``."""
        values = self.layers[number - 1](hidden.values, hidden.bias)
        return Hidden(values, hidden.bias, hidden.mask)

    def features(self, hidden: Hidden) -> Features:
        """Return the tokens, to be averaged where they are no padding."""
        return Features(hidden.values, hidden.mask, prefix=0, grid=None, pooling="mean")

    def width(self, number: int) -> int:
        """Return the width of the trunk, the same after every block."""
        del number
        return self._width

    def tokens(self, number: int) -> int:
        """Return the length that a text is padded to."""
        del number
        return self._length

    def truncate(self, depth: int) -> None:
        """Drop every layer beyond ``depth``."""
        self.layers = self.layers[:depth]
        self.depth = len(self.layers)


class BertFamily(Family):
    """BERT, MiniLM and RoBERTa.

    Settings from scratch: ``model_type`` (``bert`` or ``roberta``) and those of transformers'
    configuration that :data:`SETTINGS` names.
    """

    name = "bert"
    model_types = tuple(MODELS)

    def pretrained(self, source: str, revision: str | None, *, length: int) -> Backbone:
        """Load the encoder of a folder or hub model, without its pooler and its heads.

        Raises:
            ModelError: It cannot be loaded, or is not of this family.
            InputError: It has fewer positions than ``length``.
        """
        model = load_model(MODELS, source, revision, add_pooling_layer=False)
        if model.config.is_decoder:
            raise ModelError(
                f"the backbone {source!r} is a decoder (is_decoder in its config.json); an encoder "
                "is asked for.",
                hint="give an encoder: in a decoder no token sees those after it.",
                code="model.decoder",
            )
        return BertBackbone(model, length)

    def from_scratch(self, settings: dict[str, Any], *, length: int) -> Backbone:
        """Build an encoder with random weights.

        Raises:
            InputError: A setting is unknown or out of range.
        """
        settings = dict(settings)
        kind = settings.pop("model_type", "bert")
        if kind not in CONFIGS:
            raise bad_setting(f"model_type = {kind!r} must be one of {', '.join(CONFIGS)}")
        config = fresh_config(CONFIGS[kind], settings, SETTINGS, own=("model_type",))
        return BertBackbone(fresh_model(MODELS[kind], config, add_pooling_layer=False), length)


def _first_position(config: PreTrainedConfig) -> int:
    """Return the number of a text's first position: RoBERTa counts from its padding token's id."""
    if config.model_type != "roberta":
        return 0
    padding: int | None = config.pad_token_id
    if padding is None:
        raise ModelError(
            "the RoBERTa has no pad_token_id, from which its positions count.",
            hint="write it into the config.json of the backbone; RoBERTa's own is 1.",
            code="model.bad-config",
        )
    return padding + 1


def _require_positions(most: int, length: int) -> None:
    if not 0 < length <= most:
        raise InputError(
            f"length = {length} does not fit the backbone, which has positions for 1 to {most} "
            "tokens.",
            hint=f"set [data] length to {most} or less.",
            code="input.length",
        )
