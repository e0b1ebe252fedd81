"""What a pickle of plain data may ask of memory and time, looked at before it is read.

An unpickler makes room for as many remembered objects as the file says, and lets a container hold one other twice, that
one another twice, and so on: a few hundred bytes then take all memory, or a hash of them all time.
"""

from __future__ import annotations

import pickletools

PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
# What makes or has just filled a container: one that is remembered may be used once only.
CONTAINERS = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "DICT", "EMPTY_DICT"}
CONTAINERS |= {"SETITEM", "SETITEMS", "FROZENSET", "EMPTY_SET", "ADDITEMS"}


def outgrown(content: bytes) -> str:
    """Return what a pickle asks for that plain data does not, as in "a container used twice"; "" for nothing.

    Raises
    ------
    ValueError
        If the bytes are no pickle.
    """
    made: dict[int, str] = {}
    before = ""
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in PUTS:
            place = len(made) if argument is None else int(argument)
            if place > len(content):
                return f"room for {place} remembered objects in {len(content)} bytes"
            made[place] = before
        elif name == "DUP" or (name in GETS and made.get(int(argument)) in CONTAINERS):
            return "a container used twice"
        before = name
    return ""
