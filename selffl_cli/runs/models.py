"""The models of a finished run, as the start of another."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import SelfflError, UsageError
from .folder import MODELS, RunFolder


def global_model(path: Path) -> dict[str, Tensor]:
    """The global model of a models.safetensors, or of any safetensors file of named parameters."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise SelfflError(f"{path}: not a readable safetensors file ({str(error).splitlines()[0]})") from None
    own = {name.removeprefix("global/"): value for name, value in tensors.items() if name.startswith("global/")}
    if own or "personal" not in tensors:
        return own or tensors
    raise SelfflError(f"{path}: holds no global model; a run of method 'local' cannot start another")


def init_file(given: Path | None) -> Path | None:
    """`--init RUN|FILE.safetensors` as a file."""
    if given is None:
        return None
    if given.is_dir():
        folder = RunFolder.open(given)
        if folder.result is None:
            raise SelfflError(f"--init {given}: that run is not finished; finish it with selffl train first")
        return folder.check(MODELS)
    if not given.is_file():
        raise UsageError(f"--init {given}: no such run folder or file")
    return given
