"""Weights: a checkpoint of torchvision's, of timm's or of a study's own, loaded whole or refused by the first key."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError, one_of

WRAPPERS = ("state_dict", "model")  # the keys under which training scripts keep a state beside the optimiser's
OURS = "network."  # a kept run holds its feedback maps too
PARALLEL = "module."  # left by DataParallel
COUNT = "num_batches_tracked"  # not in checkpoints from before torch 0.4.1, and without a use at a fixed momentum


def load_weights(network: nn.Module, weights: str | Path | Mapping[str, Tensor], *, head: str = "refuse") -> nn.Module:
    """Load every weight and buffer of a network, or change nothing and refuse.

    Parameters
    ----------
    network : nn.Module
        Plain: of a routed one, give its `network`.
    weights : path or dict of str to Tensor
        A file of torch.save, read as tensors alone, or of safetensors where that imports; or a state dict. A state
        under "state_dict" or "model" is taken out. Of a run that a study kept, the network's part is taken. Queries,
        keys and values of a ViT are parted or joined as the network has them.
    head : {"refuse", "fresh"}
        "fresh" leaves the last dense layer, the logits, as it was drawn, for other classes; all else must fit.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    InputError
        If the file is not there, damaged or holds anything but tensors; or if it is of another network: the message
        names the first key that is missing, of another shape, or left over.
    """
    one_of("head", head, ("refuse", "fresh"))
    mapping = isinstance(weights, Mapping)
    label = "the weights given" if mapping else f"weights '{weights}'"
    wanted = network.state_dict()
    if any(value.is_meta for value in wanted.values()):
        raise InputError(f"{label} asked for a network on the meta device, which has no memory: build it on another")
    found = _with_the_networks_qkv(_tensors(weights if mapping else _read(Path(weights), label), label), wanted)
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    own = {key for key in wanted if key.endswith(f".{COUNT}") and key not in found}
    if head == "fresh":
        own |= {f"{last}.weight", f"{last}.bias"} & wanted.keys()
    found |= {key: wanted[key] for key in own}
    told = _first_difference(found, wanted, last)
    if told:
        judged = wanted.keys() - own
        fit = sum(key in found and found[key].shape == wanted[key].shape for key in judged)
        kind = type(network).__name__
        raise InputError(f"{label} do not fit this {kind} ({fit} of its {len(judged)} keys do): {told}")
    network.load_state_dict(found)
    return network


def _read(path: Path, label: str) -> object:
    if not path.is_file():
        raise InputError(f"{label} are not there: give a file of torch.save or of safetensors")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path, label)
        _check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes spell
        raise InputError(
            f"{label} cannot be read as tensors ({type(error).__name__}): the file is damaged or holds objects, which "
            "are not run; fetch it again, or save its state_dict() alone"
        ) from None


def _check_sums(path: Path) -> None:
    """Raise if a checksum is wrong: torch writes them, and reads a tensor with a flipped bit without a word."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
        if wrong:
            raise zipfile.BadZipFile(wrong)


def _read_safetensors(path: Path, label: str) -> object:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(
            f"{label} need the package safetensors, which is not installed: install it, or give a file of torch.save"
        ) from None
    return load_file(path)


def _tensors(state: object, label: str) -> dict[str, Tensor]:
    if isinstance(state, Mapping):
        state = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not state:
        found = "nothing" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise InputError(f"{label} hold {found}: use a state dict, tensors by name")
    if any(str(key).startswith(OURS) for key in state):
        state = {key[len(OURS) :]: value for key, value in state.items() if str(key).startswith(OURS)}
    if all(str(key).startswith(PARALLEL) for key in state):
        state = {key[len(PARALLEL) :]: value for key, value in state.items()}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{label} hold '{key}', a {type(value).__name__}: use a state dict, tensors by name")
    return dict(state)


def _with_the_networks_qkv(found: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Part or join q, k and v: rows of one dense layer in timm's order, so that either way is exact."""
    result = {}
    for key, value in found.items():
        layer, _, leaf = key.rpartition(".")
        stem, _, name = layer.rpartition(".")
        apart = [f"{stem}.{part}.{leaf}" for part in "qkv"]
        joint = f"{stem}.qkv.{leaf}"
        if name == "qkv" and apart[0] in wanted and value.shape[0] % 3 == 0:
            result |= dict(zip(apart, value.chunk(3), strict=True))
        elif name in ("q", "k", "v") and joint in wanted and all(part in found for part in apart):
            result[joint] = torch.cat([found[part] for part in apart])
        else:
            result[key] = value
    return result


def _first_difference(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], last: str) -> str | None:
    other = "build the network that they are of, or give this one's"
    for key, value in wanted.items():
        if key not in found:
            part = key.partition(".")[0]
            alone = any(name.startswith(f"{part}.") for name in found)
            return f"'{key}' is missing{'' if alone else f', as is all of {part!r}'}; {other}"
        theirs, ours = tuple(found[key].shape), tuple(value.shape)
        if theirs == ours:
            continue
        shapes = f"'{key}' is {theirs}, the network's {ours}"
        if key.rpartition(".")[0] == last:
            return f"{shapes}; build it with their classes, or ask for head 'fresh'"
        if key == "pos_embed":
            return f"{shapes}; positions are not interpolated: build it with their size and patch"
        return f"{shapes}; {other}"
    over = next((key for key in found if key not in wanted), None)
    return None if over is None else f"'{over}' is left over; {other}"
