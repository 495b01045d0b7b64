"""Membership inference by loss threshold: was this sample trained on? (Yeom et al., CSF 2018)

Members are the training samples, non-members the test samples, which no training ever sees; the attacker guesses
"member" where the loss is low. Reported beside the AUC: true positives at few false positives, since an attack that is
sure of a few matters more than one that is vague about all (Carlini et al., S&P 2022).
"""

from __future__ import annotations

import numpy as np

from ...engine.evaluation import sample_scores
from ...errors import SelfflError
from ..run import FinishedRun

RATES = {"tpr_at_1": 0.01, "tpr_at_01": 0.001}  # true positives at 1 % and at 0.1 % false positives


def attack(members: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """AUC and true-positive rates of "the loss is low" from losses of members [n] and of non-members [m]."""
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    score = -np.concatenate([members, others])
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    at = {name: float(true[false <= rate].max()) for name, rate in RATES.items()}
    return {"auc": float(roc_auc_score(truth, score)), **at}


def membership(run: FinishedRun) -> dict[str, float]:
    """{"global.auc": …, "personal.auc": …}; a personal model is attacked on its own client's samples.

    Raises SelfflError for a run that kept no models.
    """
    theta, rows = run.global_(), run.personal()
    if theta is None and rows is None:
        raise SelfflError(f"{run.folder.path}: kept no models to attack; train it again with --keep-models personal")
    losses: dict[str, list[list[np.ndarray]]] = {"global": [[], []], "personal": [[], []]}
    parts = [run.part("train"), run.part("test")]
    for client in run.trained.tolist():  # the samples of any other client are no members
        for kind, vector in (("global", theta), ("personal", None if rows is None else rows[client])):
            if vector is None or any(part.sizes[client] == 0 for part in parts):
                continue
            for kept, part in zip(losses[kind], parts, strict=True):
                x, y = part.client(client)
                units = run.model.task.units(x, y).clamp_min(1)
                kept.append((sample_scores(run.model, vector, x, y)[1] / units).numpy())
    found: dict[str, float] = {}
    for kind, (members, others) in losses.items():
        if members and others:
            figures = attack(
                *(np.nan_to_num(np.concatenate(kept), nan=1e30, posinf=1e30) for kept in (members, others))
            )
            found |= {f"{kind}.{name}": value for name, value in figures.items()}
    if not found:
        raise SelfflError(f"{run.folder.path}: its clients have no test samples, so there are no non-members to tell")
    return found
