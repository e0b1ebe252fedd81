"""The fuzzing as a script: `python tests/safety/fuzz.py WHAT EXAMPLES SEED` counts how malformed files end.

WHAT is `protocols` or one of `batches`, `archives`, `pictures`, `studies`; the seed gives the same files again. Nothing
is shrunk and nothing stops at a failure: each is printed with its seed, and the exit code is 1 if there was any.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import StopTest, UnsatisfiedAssumption

sys.path[:0] = [str(Path(__file__).parent.parent / part) for part in ("", "datasets", "fields", "routing")]

from safety import (  # noqa: E402  beside the test modules, as under pytest
    malformed_protocols,
    test_malformed_data,
    test_malformed_protocols,
    test_malformed_studies,
)
from safety.commands import Trained  # noqa: E402
from safety.malformed_files import spoilt  # noqa: E402

SHOWN = 40  # failures that are printed


def _protocols(folder: Path) -> Callable[[st.DataObject], str]:
    test_malformed_protocols.furnish(folder)
    contents = malformed_protocols.contents()
    return lambda data: test_malformed_protocols.check(folder, data.draw(contents), test_malformed_protocols.BEGINNING)


def _studies(folder: Path) -> Callable[[st.DataObject], str]:
    test_malformed_studies.furnish(folder)
    return lambda data: test_malformed_studies.check(folder, data.draw)


def _batches(folder: Path) -> Callable[[st.DataObject], str]:
    test_malformed_data.furnish_cifar(folder)
    return lambda data: test_malformed_data.check_batch(
        folder, *test_malformed_data.drawn(data, folder, *data.draw(test_malformed_data.kinds))
    )


def _archives(folder: Path) -> Callable[[st.DataObject], str]:
    (folder / "inner").mkdir()
    contents = spoilt(test_malformed_data.made_archives(folder / "inner"))
    return lambda data: test_malformed_data.check_archive(folder / "inner", data.draw(contents))


def _pictures(folder: Path) -> Callable[[st.DataObject], str]:
    test_malformed_data.furnish_images(folder)
    return lambda data: test_malformed_data.check_picture(folder, data.draw(test_malformed_data.pictures))


KINDS = {
    "protocols": _protocols,
    "batches": _batches,
    "archives": _archives,
    "pictures": _pictures,
    "studies": _studies,
}


def fuzz(what: str, examples: int, number: int) -> tuple[Counter[str], list[str]]:
    """Check so many malformed files; return how often each way of ending was seen, and what failed."""
    ended: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rfmodel-fuzz-") as folder:
        check = KINDS[what](Path(folder))

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def each(data: st.DataObject) -> None:
            try:
                ended[check(data)] += 1
            except (UnsatisfiedAssumption, StopTest):  # hypothesis's own: no example
                raise
            except (Exception, Trained):
                ended["FAILED"] += 1
                read = Path(folder) / "fuzzed.toml"
                failures.append(
                    f"{read.read_bytes()[:1500] if read.exists() else ''}\n{traceback.format_exc(limit=-6)}"
                )

        each()
    return ended, failures


def main() -> int:
    """Run what the command line says."""
    what, examples, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = time.perf_counter(), time.process_time()
    ended, failures = fuzz(what, examples, number)
    for told in failures[:SHOWN]:
        print(told[-3000:], "-" * 60, sep="\n")
    wall, own = time.perf_counter() - begun[0], time.process_time() - begun[1]
    told = ", ".join(f"{count} {how}" for how, count in ended.most_common())
    print(f"{what}, seed {number}: {ended.total()} examples: {told}; {wall:.0f} s, {own:.0f} s of them computing")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
