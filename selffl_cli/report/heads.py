"""Heads of columns; imports nothing, so that the table at the end of training may use them."""

from __future__ import annotations


def head(setting: str) -> str:
    """A setting as the head of a narrow column: "partition=dirichlet:alpha=1" on three lines."""
    lines = setting.replace(", ", "\n").replace(":", ":\n").split("\n")
    return "\n".join(line.replace("=", "=\n", 1) if len(line) > 16 else line for line in lines)
