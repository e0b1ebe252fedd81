"""Topologies: which edges a rule lays for the sites that it is asked to teach.

A *site* is the name of a weighted layer (Linear or Conv2d); its error is delivered at that layer's input, which
is where the activity of the layer before it is read. A container's name ("retina") stands for the first weighted
layer after it, so that "into the retina" means into the retina's output.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from torch import nn

from rfmodel.errors import InputError, nearest
from rfmodel.routing.ports import Edge, Port, Routing, Trace


def layerwise(record: Trace, sites: Sequence[str]) -> list[Edge]:
    """Lay an edge from each site's output to its own input (FA, LDFA: Hanut & Kadmon eqs. 1, 12)."""
    return [Edge(Port(site, "output"), Port(site, "input")) for site in sites]


def direct(source: str = "output") -> Routing:
    """Return the topology that delivers one later error to every site (DFA, direct LDFA: eq. 17).

    Parameters
    ----------
    source : str
        "output", the network's output; "penultimate", the last hidden weighted layer's output, that is the error
        delta_{L-1} of eq. 17, f' included; or a module's name, that module's output.
    """

    def routing(record: Trace, sites: Sequence[str]) -> list[Edge]:
        origin = _origin(record, source)
        return [Edge(origin, Port(site, "input")) for site in sites]

    return routing


def _origin(record: Trace, source: str) -> Port:
    if source == "output":
        return Port("", "output")
    if source == "penultimate":
        if len(record.weighted) < 2:
            raise InputError("source 'penultimate' asked of a network with one weighted layer; use 'output'")
        return Port(record.weighted[-2], "output")
    names = [name for name, _ in record.network.named_modules() if name]
    if not isinstance(source, str) or source not in names:
        raise InputError(
            f"source '{source}' is not in the network: use output, penultimate or a module's name"
            f"{nearest(str(source), ['output', 'penultimate', *names])}"
        )
    return Port(source, "output")


def sites_of(record: Trace, pattern: str) -> list[str]:
    """Return the sites that `pattern` names, in the order in which they fire.

    Parameters
    ----------
    record : Trace
    pattern : str
        A weighted layer ("vvs.conv1"), a container ("retina": the first weighted layer after it), a glob over
        weighted layers ("vvs.*"), or "*": every weighted layer but the first, before which nothing learns.

    Raises
    ------
    InputError
        If nothing fits, or if a glob covers a module with weights that has no routable form.
    """
    modules = dict(record.network.named_modules())
    if any(mark in pattern for mark in "*?["):
        return _glob(record, pattern)
    if pattern not in modules or not pattern:
        raise InputError(
            f"site '{pattern}' is not in the network: its sites are {', '.join(_known(record))}"
            f"{nearest(pattern, _known(record))}"
        )
    if isinstance(modules[pattern], nn.Linear | nn.Conv2d):
        return [pattern]
    done = record.firing(Port(pattern, "output")).when
    after = [n for n in record.weighted if record.firings[Port(n, "input")].when > done]
    if not after:
        raise InputError(f"site '{pattern}' has no weighted layer after it; its error is the loss's own")
    return after[:1]


def _known(record: Trace) -> list[str]:
    containers = [n for n, _ in record.network.named_children()]
    return record.weighted[1:] + [n for n in containers if n not in record.weighted]


def _glob(record: Trace, pattern: str) -> list[str]:
    for name, module in record.network.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
        if own and fnmatch.fnmatchcase(name, pattern) and name not in record.weighted:
            raise InputError(
                f"site pattern '{pattern}' covers '{name}' ({type(module).__name__}), whose error cannot be routed: "
                "write it with nn.Linear or nn.Conv2d, or name the sites one by one"
            )
    found = [name for name in record.weighted[1:] if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise InputError(
            f"site pattern '{pattern}' fits no weighted layer after the first: {', '.join(_known(record))}"
        )
    return found
