"""A worker that only pretends: it says at once what `script.json` has it say of each run, attempt by attempt.

It speaks as `rfmodel.running.worker` does, and loads nothing, so that what a crew makes of it is tested in no time.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # held back while a worker is started
orders, events = os.fdopen(int(sys.argv[1])), int(sys.argv[2])


def say(event, **what):
    os.write(events, json.dumps({"event": event, **what}).encode() + b"\n")


def noted(what):
    with open(folder / "log", "a") as log:
        log.write(json.dumps([os.getpid(), begin["device"], *what]) + "\n")


def die(how):
    print("last words of a worker", file=sys.stderr, flush=True)
    os.kill(os.getpid(), how)


def do(action):
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "abort":
        die(signal.SIGTERM)
    elif action == "exit":
        sys.exit("ValueError: nobody caught this")
    elif action == "unwritable":
        say("stopped", kind="Unwritable", message="'runs/x' cannot be written: the disk is full")
    elif action == "damaged":
        say("stopped", kind="InputError", message="run file 'runs/x.nc' is damaged")
    elif action == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        noted(["stubborn", 0])
        time.sleep(600)
    elif action == "full":
        say("ended", outcome={"state": "failed", "error": "OutOfMemoryError: CUDA out of memory."})
    elif action == "poisoned":
        say("ended", outcome={"state": "failed", "error": "RuntimeError: CUDA error: an illegal memory access"})
    elif action == "done":
        say("started", epochs=2, steps=3)
        say("progress", epoch=1, step=2, loss=float("nan"))
        say("told", line="a damaged checkpoint gave way")
        say("ended", outcome={"state": "done", "accuracy": 0.5, "seconds": 1.0})
    else:
        say("ended", outcome={"state": action})


begin = json.loads(orders.readline())
folder = Path(begin["folder"])
script = json.loads((folder / "script.json").read_text())
born = 0
while True:
    try:
        os.close(os.open(folder / f"born-{born}", os.O_CREAT | os.O_EXCL))
        break
    except FileExistsError:
        born += 1
beginning = script.get("beginnings", [])[born:][:1]
if beginning == ["kill"]:
    os.kill(os.getpid(), signal.SIGKILL)
if beginning == ["exit"]:
    sys.exit("ImportError: No module named 'torch'")
say("ready")
for line in orders:
    order = json.loads(line)
    if order["do"] == "end":
        break
    run = order["run"]
    noted([run["condition"], order["attempt"]])
    tried = sum(json.loads(row)[2] == run["condition"] for row in (folder / "log").read_text().splitlines())
    do(script.get(run["condition"], ["done"] * 9)[tried - 1])
