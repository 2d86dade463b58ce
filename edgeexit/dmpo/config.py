"""What a tuning run is told: one frozen dataclass a table of the TOML file. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

PredictorName = Literal["linear", "second-order", "local", "global"]
NormKind = Literal["trained", "frozen", "none"]
AdapterKind = Literal["auto", "lora", "full", "none"]
MethodName = Literal["dmpo", "joint", "sweet", "frozen", "distill"]
ScheduleName = Literal["linear", "two-phase", "milestone", "cosine", "exponential", "constant"]
Precision = Literal["auto", "f32", "bf16", "fp16"]


@dataclass(frozen=True)
class BackboneConfig:
    """Table ``[backbone]``: the trunk that is tuned.

    Attributes:
        family: ``bert``, ``vit``, ``resnet``, ``small-vit`` or one that an installed package
            adds; None to read it from ``source``.
        source: A folder with a transformers model, or a hub name; None trains from scratch.
        revision: Branch, tag or commit of a hub model.
        settings: From scratch: the arguments of the family's configuration.
    """

    family: str | None = None
    source: str | None = None
    revision: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExitsConfig:
    """Table ``[exits]``: where exits lie and what they are made of.

    Attributes:
        after: Numbers of the blocks (from 1) that an exit follows, ascending; blocks beyond the
            last one are cut off.
        predictor: Predictor of every early exit, or one name an exit.
        last: Predictor of the last exit.
        norm: The norm each exit has of its own: ``trained`` or ``frozen``, both initialised from
            the backbone's final norm where it has one, or ``none``.
        beta: Scale every exit's logits by a learned scalar, which starts at 1.
    """

    after: tuple[int, ...]
    predictor: PredictorName | tuple[PredictorName, ...] = "second-order"
    last: PredictorName = "linear"
    norm: NormKind = "trained"
    beta: bool = True


@dataclass(frozen=True)
class BypassConfig:
    """Table ``[bypass]``: the bottleneck between the trunk and an early exit's predictor.

    Attributes:
        width: Its width; 0 leaves the bypass out; None takes half the trunk's.
        depth: Its number of linear layers, 1 or more.
        last: Give the last exit one too.
    """

    width: int | None = None
    depth: int = 1
    last: bool = False


@dataclass(frozen=True)
class SecondOrderConfig:
    """Table ``[second-order]``: the size of the high-order predictor.

    Attributes:
        size: Width of one moment head; None sizes it to the features and the tokens.
        heads: Number of moment heads, 2 or more; each neighbouring pair gives a cross-covariance.
        reduce: ``conv``: two 3 x 3 convolutions of stride 2 between covariance and classifier;
            ``none``: every entry of the covariance is a feature.
    """

    size: int | None = None
    heads: int = 2
    reduce: Literal["conv", "none"] = "none"


@dataclass(frozen=True)
class AdapterConfig:
    """Table ``[adapter]``: what of the backbone is tuned.

    Attributes:
        kind: ``lora``, ``full`` (every weight), ``none`` (the backbone stays as it is), or
            ``auto``: ``lora`` for a pretrained backbone, ``full`` from scratch, where there is
            nothing yet to adapt.
        rank: Rank of the LoRA matrices.
        alpha: LoRA's scale is alpha / rank; None for a scale of 1.
        dropout: Dropout on the input of the LoRA matrices.
        targets: Endings of the names of the linear layers that are adapted; None for the family's.
    """

    kind: AdapterKind = "auto"
    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ObjectiveConfig:
    """Table ``[objective]``: the loss and what each exit's loss may update.

    Attributes:
        method: ``dmpo``: weights that move from the deep exits to the early ones, and the
            cross-exit factor. ``joint``: the plain sum. ``sweet``: each segment is updated by its
            own exit alone. ``frozen``: the plain sum over a frozen backbone. ``distill``: the
            plain sum and a divergence from the last exit.
        schedule: How DMPO's weights move.
        start: Weight of every exit at the start; None for the paper's, at relative depth.
        end: Weight of every exit at the end; None likewise.
        boundary: Where ``two-phase`` switches, as a share of the training.
        milestones: For ``milestone``: shares of the training at which the weights take one more
            equal step from ``start`` to ``end``.
        cross_exit: Scale exit k's loss by sigmoid(CE of exit k - 1), a sample.
        temperature: Softens both distributions of ``distill``.
        distill_weight: Share of the divergence in an early exit's loss, 0 to 1.
    """

    method: MethodName = "dmpo"
    schedule: ScheduleName = "linear"
    start: tuple[float, ...] | None = None
    end: tuple[float, ...] | None = None
    boundary: float = 0.5
    milestones: tuple[float, ...] = (0.25, 0.5, 0.75)
    cross_exit: bool = True
    temperature: float = 2.0
    distill_weight: float = 0.5


@dataclass(frozen=True)
class TrainingConfig:
    """Table ``[training]``: the optimizer and its course.

    Attributes:
        epochs: Passes over the training data.
        batch: Samples a step takes at once on one process.
        accumulate: Batches whose gradients make one step.
        lr: Peak learning rate of what is tuned of the backbone.
        head_lr: Peak learning rate of the exits; None for ``lr``.
        weight_decay: Of matrices; vectors and scalars have none.
        warm_up: Share of the steps in which the rates rise linearly; then a cosine falls to 0.
        clip: Largest norm of the gradient; 0 for none.
        label_smoothing: Of every cross-entropy.
        precision: ``auto`` takes bfloat16 autocast where the processor computes it.
        patience: Stop after this many epochs without a better validation score; 0 never stops.
        seed: Of initialisation, order and dropout.
        threads: Threads of torch on a CPU; None leaves them.
        log: ``csv``, ``tensorboard`` or both, e.g. ``("csv", "tensorboard")``.
        checkpoint_minutes: A checkpoint is written at the end of each epoch, and within an epoch
            after so many minutes.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    epochs: int = 3
    batch: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    head_lr: float | None = None
    weight_decay: float = 0.05
    warm_up: float = 0.1
    clip: float = 1.0
    label_smoothing: float = 0.0
    precision: Precision = "auto"
    patience: int = 0
    seed: int = 0
    threads: int | None = None
    log: tuple[str, ...] = ("csv",)
    checkpoint_minutes: float = 5.0
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class DataConfig:
    """Table ``[data]``: what is learned from.

    Attributes:
        train: An ``.npz`` file, a ``.csv``, ``.tsv`` or ``.jsonl`` of texts, a folder of class
            folders of images, or ``package.module:function``.
        validation: The same, or a share of ``train`` (stratified); early stopping reads it.
        calibration: The same; kept from training and validation alike, and written to the output
            folder for ``edgeexit calibrate`` and the quantizer.
        text: Column of the text.
        label: Column of the label.
        length: Tokens a text is cut or padded to.
        size: Height and width an image is resized to; None leaves images as they are.
        mean: Mean a channel of pixels in 0..1; None for the backbone's own, or 0.5.
        std: Standard deviation a channel; None likewise.
        augment: Random shifts of up to 1/28 of the side and, with ``flip``, mirrored images.
        flip: Mirror every other training image.
    """

    train: str
    validation: str | float = 0.1
    calibration: str | float = 0.1
    text: str = "text"
    label: str = "label"
    length: int = 128
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    augment: bool = False
    flip: bool = False


@dataclass(frozen=True)
class TuneConfig:
    """A whole tuning run.

    Attributes:
        data: What is learned from.
        exits: Where exits lie and what they are made of.
        backbone: The trunk.
        bypass: The bottleneck before early predictors.
        second_order: The size of the high-order predictor.
        adapter: What of the backbone is tuned.
        objective: The loss.
        training: The optimizer and its course.
        name: Name of the model.
    """

    data: DataConfig
    exits: ExitsConfig
    backbone: BackboneConfig = BackboneConfig()
    bypass: BypassConfig = BypassConfig()
    second_order: SecondOrderConfig = SecondOrderConfig()
    adapter: AdapterConfig = AdapterConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    name: str = "tuned"
