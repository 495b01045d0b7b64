"""The commands of SLURM that submitit uses, on one machine: jobs wait, run, are killed and go back into the queue.

`slurm_stand_in.py COMMAND …` is sbatch, srun, sacct, scancel or scontrol. Jobs are files in the folder $STAND_IN:
N.state holds a job's state, N.pid the process of its task, N.again is there when it is to run once more, and N.killed
holds how it was killed. `plan` has a line "N ROUNDS HOW" for each job N that is killed once a run has written so many
rounds. HOW is `requeue` (its node fails, and SLURM starts it anew), `gone` (its node fails, and that is that), or
`preempt` (it is asked to leave the node).
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

PLACE = Path(os.environ["STAND_IN"])


def sbatch(script: str) -> None:
    with (PLACE / "counter").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0) + 1
        file.truncate(0)
        file.write(str(number))
    state(number, "PENDING")
    print(f"Submitted batch job {number}", flush=True)
    if os.fork() == 0:
        os.setsid()
        for stream in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        try:
            attend(number, script)
        finally:
            os._exit(0)


def state(number: int, word: str = "") -> str:
    path = PLACE / f"{number}.state"
    if word:
        path.with_suffix(".part").write_text(word)
        path.with_suffix(".part").replace(path)
    return path.read_text()


def attend(number: int, script: str) -> None:
    """Run the job, once more for each time that it goes back into the queue."""
    plans = {line.split()[0]: line.split()[1:] for line in (PLACE / "plan").read_text().splitlines()}
    plan = plans.get(str(number))
    environment = {**os.environ, "SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    while True:
        time.sleep(0.3)
        if state(number) == "CANCELLED":
            return
        state(number, "RUNNING")
        job = subprocess.Popen(["bash", script], env=environment, start_new_session=True)
        how = kill(number, job, int(plan[0]), plan[1]) if plan else ""
        code, plan = job.wait(), None
        again = PLACE / f"{number}.again"
        if how != "requeue" and not again.exists():
            break
        again.unlink(missing_ok=True)
        state(number, "PENDING")
    state(number, "NODE_FAIL" if how == "gone" else "COMPLETED" if code == 0 else "FAILED")


def kill(number: int, job: subprocess.Popen[bytes], rounds: int, how: str) -> str:
    """Kill the job when one of the runs that are not finished has so many rounds; "" where it was quicker."""
    while job.poll() is None:
        for metrics in PLACE.parent.glob("runs/*/*/metrics.jsonl"):
            if metrics.read_bytes().count(b"\n") > rounds and not (metrics.parent / "result.json").exists():
                if how == "preempt":
                    os.kill(int((PLACE / f"{number}.pid").read_text()), signal.SIGUSR2)
                else:
                    os.killpg(job.pid, signal.SIGKILL)
                (PLACE / f"{number}.killed").write_text(how)
                return how
        time.sleep(0.01)
    return ""


def srun(*words: str) -> None:
    number = os.environ["SLURM_JOB_ID"]
    start = next(i for i, word in enumerate(words) if not word.startswith("-") and words[i - 1] not in FILES)
    files = dict(pairwise(words))
    for stream, option in ((1, "--output"), (2, "--error")):
        path = files[option].replace("%j", number).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    (PLACE / f"{number}.pid").write_text(str(os.getpid()))
    os.environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    os.execvp(words[start], words[start:])


FILES = ("--output", "--error")


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for option, number in pairwise(words):
        if option == "-j":
            print(f"{number}|{state(int(number))}|here")


def scancel(*words: str) -> None:
    number = next(int(word) for word in words if re.fullmatch(r"\d+", word))
    if state(number) == "PENDING":
        state(number, "CANCELLED")
    elif state(number) == "RUNNING":
        with suppress(OSError, ValueError):
            os.kill(int((PLACE / f"{number}.pid").read_text()), signal.SIGTERM)


def scontrol(what: str, number: str) -> None:
    assert what == "requeue"
    (PLACE / f"{number}.again").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
