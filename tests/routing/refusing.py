"""How tests ask that a rule is refused on a network."""

from __future__ import annotations

import pytest
import torch

from rfmodel.errors import InputError
from rfmodel.routing import Routed, Rule
from rfmodel.routing.feedback import Fixed

IMAGES = torch.zeros(2, 1, 6, 6)


def refused(message, network, rules, example=IMAGES):
    with pytest.raises(InputError, match=message) as caught:
        Routed(network, rules, example)
    assert "\n" not in str(caught.value)


def along(*edges):
    return Rule("custom", lambda record, sites: list(edges), lambda p: Fixed(p.geometry, p.std, p.generator))
