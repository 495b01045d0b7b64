"""Columns to the numbers that a model sees, by what the training samples alone say of them."""

from __future__ import annotations

import numpy as np

from .rows import Rows

CHUNK = 1 << 18  # rows at a time: what is computed on the way never has the size of the table


def encode(rows: Rows, train: np.ndarray, names: list[str], categories: list[str]) -> tuple[np.ndarray, list[str]]:
    """x float32 [n, d] and the name of each of its d columns; `train` are the indices of the training samples.

    A number is scaled to mean 0 and standard deviation 1 of the training samples, and one that is missing is their
    mean, 0. A category is a column of 0 and 1 for each value that training samples have; one that is missing or that
    they do not have is 0 in all of them.
    """
    mean, deviation = moments(rows.numbers, train)
    known = [np.unique(rows.categories[train, i]) for i in range(len(categories))]
    known = [codes[codes >= 0] for codes in known]
    columns = list(names)
    for name, levels, codes in zip(categories, rows.levels, known, strict=True):
        columns += [f"{name}={levels[code]}" for code in codes]
    x = np.zeros((len(rows.client), len(columns)), np.float32)
    for begin in range(0, len(x), CHUNK):
        part = slice(begin, begin + CHUNK)
        x[part, : len(names)] = np.nan_to_num((rows.numbers[part] - mean) / deviation)
        at = len(names)
        for i, codes in enumerate(known):
            x[part, at : at + len(codes)] = rows.categories[part, i, None] == codes
            at += len(codes)
    return x, columns


def moments(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [f] of the training samples that have a value; 0 and 1 where they say nothing."""
    count = np.zeros(values.shape[1])
    total, square = count.copy(), count.copy()
    for begin in range(0, len(train), CHUNK):
        part = values[train[begin : begin + CHUNK]].astype(np.float64)
        count += np.isfinite(part).sum(0)
        total += np.nansum(part, 0)
    mean = total / np.maximum(count, 1)
    for begin in range(0, len(train), CHUNK):
        square += np.nansum((values[train[begin : begin + CHUNK]].astype(np.float64) - mean) ** 2, 0)
    deviation = np.sqrt(square / np.maximum(count, 1))
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-30), deviation, 1.0)
