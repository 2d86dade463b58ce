"""One optimizer step: forward, loss, backward, clipping, update."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from edgeexit.dmpo.config import TrainingConfig
from edgeexit.dmpo.data.batches import Batch
from edgeexit.dmpo.model import MultiExitModel
from edgeexit.dmpo.objectives.base import LossParts, Objective
from edgeexit.dmpo.training.evaluate import arguments
from edgeexit.dmpo.training.faults import gradient_fault, loss_fault, nan_error
from edgeexit.dmpo.training.log import StepRecord
from edgeexit.dmpo.training.optimizer import build_optimizer, rate_share, rates, set_rates
from edgeexit.dmpo.training.precision import compute_type
from edgeexit.dmpo.training.workers import Workers

_SMALLEST_SCALE = 1.0
"""Float16 gradients overflow now and then and the loss's scale is lowered; once it is this small,
they are not finite for another reason."""


class Stepper:
    """Owns the optimizer of a model and makes its steps.

    Args:
        model: Trained in place; it is moved to the device of ``workers``.
        objective: The loss.
        config: The optimizer and its course.
        workers: The processes that train together.
        steps: Steps of the whole training.

    Attributes:
        model: The model.
        optimizer: AdamW.
        scaler: Scales the loss of float16 training, and nothing else.
    """

    def __init__(
        self,
        model: MultiExitModel,
        objective: Objective,
        config: TrainingConfig,
        workers: Workers,
        steps: int,
    ) -> None:
        self.model = model
        self.steps = steps
        self._objective = objective
        self._config = config
        self._workers = workers
        self._compute = compute_type(config.precision, workers.device)
        self._prepared = workers.prepare(model)
        self.scaler = self._compute.scaler()
        self.optimizer = build_optimizer(model, config)
        self._parameters = [each for each in model.parameters() if each.requires_grad]

    def step(
        self, batches: Sequence[Batch], *, epoch: int, number: int, checkpoint: Path | None
    ) -> StepRecord:
        """Make one step of the gradients of some batches.

        Each sample of a process weighs the same, and each process, whatever its share of a short
        last batch.

        Args:
            batches: One or more.
            epoch: The epoch, from 1.
            number: The step, from 1.
            checkpoint: The last checkpoint, for an error's hint.

        Raises:
            ModelError: The loss or a gradient is no finite number; the weights are as they were.
        """
        set_rates(self.optimizer, rate_share(number - 1, self.steps, self._config.warm_up))
        means, weights = self._backward(batches, (number - 1) / max(1, self.steps - 1))
        objective, *losses = (each / self._workers.world for each in self._workers.total(means))
        fault = loss_fault(objective, losses) or self._clip()
        present = rates(self.optimizer)
        if fault:
            raise nan_error(fault, epoch=epoch, step=number, rates=present, checkpoint=checkpoint)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return StepRecord(epoch, number, present, objective, tuple(losses), weights)

    def _backward(
        self, batches: Sequence[Batch], progress: float
    ) -> tuple[Tensor, tuple[float, ...]]:
        """Add up the gradients of some batches.

        Returns:
            ``(1 + K,)`` the objective and each exit's cross-entropy, means over the samples; and
            the exits' weights.
        """
        samples = sum(len(labels) for _, labels in batches)
        means: list[Tensor] = []
        for batch in batches[:-1]:
            with self._workers.local(self._prepared):
                means.append(self._backward_one(batch, progress, samples)[0])
        last, weights = self._backward_one(batches[-1], progress, samples)
        return torch.stack([*means, last]).sum(dim=0), weights

    def _backward_one(
        self, batch: Batch, progress: float, samples: int
    ) -> tuple[Tensor, tuple[float, ...]]:
        share = len(batch[1]) / samples
        parts = self._loss(batch, progress)
        self.scaler.scale(parts.total * share).backward()  # type: ignore[no-untyped-call]
        mean = torch.cat([parts.total.detach()[None], parts.per_exit]) * share
        return mean, parts.weights

    def _loss(self, batch: Batch, progress: float) -> LossParts:
        inputs, labels = batch
        # An exit's `separate` is passed only where it matters: any model whose forward returns
        # logits can be trained.
        options: dict[str, Any] = {"separate": True} if self._objective.separate else {}
        casting = self._compute.dtype is not None
        # Autocast casts what LoRA layers read; peft would cast it to float32 and back before that.
        with self._compute.autocast(), disable_input_dtype_casting(self.model, active=casting):
            logits = self._prepared(*arguments(self.model, inputs), **options)
        # Cross-entropies in bfloat16 would round away what the exits still have to learn.
        return self._objective.loss(
            [each.float() for each in logits], labels.to(self._workers.device), progress
        )

    def _clip(self) -> str | None:
        """Clip the gradient; return what is wrong with it, or None."""
        self.scaler.unscale_(self.optimizer)
        gradients = [each.grad for each in self._parameters if each.grad is not None]
        norm = get_total_norm(gradients)
        if norm.isfinite():
            if self._config.clip:
                clip_grads_with_norm_(self._parameters, self._config.clip, norm)
            return None
        if self.scaler.is_enabled() and self.scaler.get_scale() > _SMALLEST_SCALE:
            return None
        return gradient_fault(self.model.named_parameters())


def train_mode(model: MultiExitModel) -> None:
    """Put what is tuned into training mode.

    A trunk of which nothing is tuned stays in evaluation mode: without dropout, its statistics as
    they were pretrained.
    """
    model.train()
    if not any(each.requires_grad for each in model.backbone.parameters()):
        model.backbone.eval()
