"""What a model's outputs are compared with: losses to train on, scores to judge by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..metrics.judged_by import ACCURACY, PERPLEXITY, SQUARED_ERROR
from ..metrics.metric import Metric


class PerSample:
    """What most tasks share: a sample is judged once."""

    @staticmethod
    def units(x: Tensor, y: Tensor) -> Tensor:
        """How often each sample is judged: [B]. Scores are sums over them, losses means."""
        return torch.ones(len(y), dtype=torch.int64, device=y.device)


class Classification(PerSample):
    """Cross-entropy over K logits, or binary cross-entropy when the model gives a single one; judged by accuracy."""

    metric: Metric = ACCURACY
    reduction = "mean"  # a batch's loss is the mean over its samples

    @staticmethod
    def losses(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Loss of each sample: outputs [B, K] or [B, 1], y [B] class indices → [B]."""
        if outputs.shape[-1] == 1:
            return F.binary_cross_entropy_with_logits(outputs[..., 0], y.to(outputs.dtype), reduction="none")
        return F.cross_entropy(outputs, y, reduction="none")

    @staticmethod
    def scores(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """1 where the prediction is right, else 0, also where the model gives no number: [B]."""
        predicted = (outputs[..., 0] > 0).long() if outputs.shape[-1] == 1 else outputs.argmax(-1)
        return ((predicted == y) & ~outputs.isnan().any(-1)).to(outputs.dtype)


class Gaussian(PerSample):
    """The two-level Gaussian's quadratic loss (theta - z)²/(2 s), summed (METHODS of the paper's section 3)."""

    metric: Metric = SQUARED_ERROR
    reduction = "sum"

    @staticmethod
    def losses(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """outputs theta [B, d], x = z [B, d], y = s [B] → [B]."""
        return ((outputs - x) ** 2).sum(-1) / (2 * y.to(outputs.dtype))

    @staticmethod
    def scores(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Squared error a coordinate: [B]. On the test part x is the true theta_m."""
        return ((outputs - x) ** 2).mean(-1)


class Regression(PerSample):
    """Half the squared error of one number, which shards scale to mean 0 and variance 1 of the training samples; judged
    by the squared error, in that unit: 1 is the error of always saying the training mean."""

    metric: Metric = SQUARED_ERROR
    reduction = "mean"

    @staticmethod
    def losses(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """outputs [B, 1], y [B] numbers → [B]."""
        return Regression.scores(outputs, x, y) / 2

    @staticmethod
    def scores(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Squared error of each sample: [B]."""
        return (outputs[..., 0] - y) ** 2


class LanguageModel:
    """Next-word prediction on texts x [B, L], padded with 0: cross-entropy of every word after the first, given those
    before it. A sample's loss is the mean over its words; the metric is perplexity, exp(mean loss over all words)."""

    metric: Metric = PERPLEXITY
    reduction = "mean"

    @staticmethod
    def units(x: Tensor, y: Tensor) -> Tensor:
        """Words that are predicted in each text: [B]."""
        return (x[:, 1:] != 0).sum(1)

    @staticmethod
    def losses(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """outputs: logits [B, T, V] of the words x[:, 1 : T + 1] → [B]; y is not looked at."""
        return LanguageModel.scores(outputs, x, y) / LanguageModel.units(x, y).clamp_min(1)

    @staticmethod
    def scores(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of each text: [B]."""
        targets = x[:, 1 : outputs.shape[1] + 1].long()
        words = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0, reduction="none")
        return words.view(targets.shape).sum(1)


class Tagging(PerSample):
    """A tag for each word: x [B, 2, L] holds words and tags, padded with 0. A sample's loss and score are means over
    its words; the metric is the mean share of right tags."""

    metric: Metric = ACCURACY
    reduction = "mean"

    @staticmethod
    def losses(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """outputs: logits [B, T, K] of the tags x[:, 1, :T] → [B]; y, the intent, is not looked at."""
        tags, known = x[:, 1, : outputs.shape[1]].long(), Tagging.known(outputs, x)
        losses = F.cross_entropy(outputs.transpose(1, 2), tags, reduction="none")
        return (losses * known).sum(1) / known.sum(1).clamp_min(1)

    @staticmethod
    def scores(outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Share of right tags of each sample: [B]."""
        known = Tagging.known(outputs, x)
        right = (outputs.argmax(-1) == x[:, 1, : outputs.shape[1]]) * known
        return right.sum(1) / known.sum(1).clamp_min(1)

    @staticmethod
    def known(outputs: Tensor, x: Tensor) -> Tensor:
        """1 where there is a word, 0 for padding: [B, T]."""
        return (x[:, 0, : outputs.shape[1]] != 0).to(outputs.dtype)


Task = type[Classification] | type[Gaussian] | type[Regression] | type[LanguageModel] | type[Tagging]
TASKS: dict[str, Task] = {
    "classification": Classification,
    "gaussian": Gaussian,
    "regression": Regression,
    "language-model": LanguageModel,
    "tagging": Tagging,
}


def batch_loss(task: Task, outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The scalar that one step descends."""
    losses = task.losses(outputs, x, y)
    return losses.sum() if task.reduction == "sum" else losses.mean()


def prediction(outputs: Tensor) -> Tensor:
    """Class probabilities of each sample [B, K] (two columns for a single logit)."""
    if outputs.shape[-1] == 1:
        positive = outputs[..., 0].sigmoid()
        return torch.stack([1 - positive, positive], -1)
    return outputs.softmax(-1)
