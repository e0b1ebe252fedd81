"""Building: from settings to a network with its rules laid, and the cheap check that this can be done."""

from __future__ import annotations

import torch

from rfmodel import parallel
from rfmodel.activity import check_layers
from rfmodel.errors import InputError, one_of
from rfmodel.models import NETWORKS
from rfmodel.routing import Routed
from rfmodel.routing.local_error import LocalError
from rfmodel.rule_files import files_of
from rfmodel.settings import Settings
from rfmodel.symmetry.given import SMALLEST
from rfmodel.user_rules import make_any

LARGEST = 10**10  # weights of a network, 40 GB


def build(settings: Settings, image_shape: tuple[int, ...], classes: int, device: torch.device | str = "cpu") -> Routed:
    """Return the network of the settings with its rule laid, drawn from the settings' seed.

    The network depends on the seed alone, so that conditions of equal shape start from equal weights.

    Raises
    ------
    InputError
        If the network, a rule, a site or a rank cannot be; the message names the key.
    """
    kind = NETWORKS[one_of("network.name:", settings.network.name, NETWORKS)]
    channels, size, width = image_shape
    if size != width:
        raise InputError(f"network.name '{settings.network.name}' takes square images; found {size} x {width} pixels")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        try:
            network = kind(**settings.network.arguments(), classes=classes, channels=channels, size=size)
        except InputError as error:
            raise InputError(f"network: {error}") from None
        except (RuntimeError, OverflowError, TypeError, MemoryError) as error:  # torch's, of sizes without bound
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise InputError(f"network: it cannot be made of these sizes ({reason}); use smaller ones") from None
    network = network.to(device)
    rules = {}
    for site, rule in settings.rules.items():
        try:
            rules[site] = make_any(rule)
        except InputError as error:
            raise InputError(f'rules."{site}": {error}') from None
    return Routed(network, rules, torch.zeros(2, *image_shape, device=device), settings.seed, settings.train.epochs)


def blank(settings: Settings, image_shape: tuple[int, ...], classes: int) -> Routed:
    """Return what `build` does, without values, on the meta device: for what depends on shapes alone.

    Only what a user's own file makes is built in earnest, on the processor: it may look at values.
    """
    device = "cpu" if files_of(settings.rules) else "meta"
    with torch.device(device):
        return build(settings, image_shape, classes, device)


def check(settings: Settings, image_shape: tuple[int, ...], classes: int) -> None:
    """Refuse settings that cannot be trained, at no cost: everything is built `blank`.

    Raises
    ------
    InputError
        As `build`, for layers of `fields.layers` and `train.activity_l1` that are not in the network, for fields too
        small to measure, and for a mean or std of as many numbers as the images have no channels.
    """
    for key in ("mean", "std"):
        given = getattr(settings.train, key)
        if isinstance(given, tuple) and len(given) != image_shape[0]:
            raise InputError(
                f"train.{key} has {len(given)} numbers, the images have {image_shape[0]} channels; give one number, or "
                "one a channel"
            )
    crop, side = settings.train.augment.crop, image_shape[1]
    if crop >= side:
        raise InputError(
            f"train.augment.crop = {crop} would cut windows with nothing of the image, {side} pixels wide; use less"
        )
    if settings.fields.layers and side < SMALLEST:
        raise InputError(
            f"fields of {side} x {side} pixels are too small to measure: data.size = {SMALLEST} or more would do, or "
            "fields.layers = []"
        )
    routed = blank(settings, image_shape, classes)
    network = routed.network
    if (weights := sum(weight.numel() for weight in network.parameters())) > LARGEST:
        raise InputError(f"network: it has {weights} weights; use smaller sizes, at most {LARGEST} weights")
    check_layers(network, settings.train.activity_l1)
    _check_rules(settings, routed)
    names = [name for name, _ in network.named_modules() if name]
    for layer in settings.fields.layers:
        one_of("fields.layers:", layer, names)


def _check_rules(settings: Settings, routed: Routed) -> None:
    """Refuse options of the training that a rule of the network does not go with."""
    train = settings.train
    if routed.own_step is not None and train.activity_l1:
        raise InputError(
            f"train.activity_l1: {type(routed.own_step).__name__} teaches without gradients of activities; leave it "
            "out, or use another rule"
        )
    falling = [site for site, loss in routed.losses.items() if loss.schedule.kind != "constant"]
    if train.average and falling:
        raise InputError(
            f"train.average = {train.average} keeps a mean of factors whose rank falls, of '{falling[0]}' first; leave "
            "it at 0, or use schedule = {kind = 'constant'}"
        )
    local = [edge for edge, feedback in routed.maps.items() if isinstance(feedback, LocalError)]
    if train.calibrate and local:
        raise InputError(
            f"train.calibrate = {train.calibrate} scales feedback maps, and '{local[0]}' is a local loss's, which "
            "weighs its own error by coefficients.ce; leave it at 0"
        )


def check_last_batch(settings: Settings, image_shape: tuple[int, ...], classes: int, images: int) -> None:
    """Refuse a last batch of one image where a norm would take its moments over one number.

    Parameters
    ----------
    settings : Settings
    image_shape : tuple of int
    classes : int
    images : int
        Training images.

    Raises
    ------
    InputError
        Of `train.batch`, at no cost: everything is built `blank`.
    """
    batch = settings.train.batch
    if (images % batch or batch) != 1 or parallel.asked() > 1:  # of several processes, none has a share of one image
        return
    routed = blank(settings, image_shape, classes)
    device = next(routed.network.parameters()).device
    try:
        with routed.train().exact() as network:
            network(torch.zeros(1, *image_shape, device=device))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        better = [size for size in range(batch + 1, batch + images + 1) if images % size != 1]
        raise InputError(
            f"train.batch = {batch} leaves a last batch of 1 of {images} training images, and batch norm needs more; "
            f"use {f'{better[0]}' if better else 'more images'}"
        ) from None
