"""A process that has imported the command line and forks a child for every run of it.

A run costs a fraction of a second and not the seconds of its imports, so that hundreds of signals
and kills at random times and at every write are affordable. It reads one JSON object a line:

    words: arguments of ``edgeexit``; folder: where; environment: added variables
    signal, delay: what is sent to the child and after how many seconds; null for none
    event, action: what happens at the n-th write (from 1): ``kill``, or ``full`` for a disk that
        is full from then on; null for nothing
    memory: most bytes of address space beyond what the server has; null for no limit

and answers with one: ``code`` (negative: ended by that signal), ``late`` seconds from the signal to
the end (or the run's length without one), ``writes`` counted, ``left`` processes of the child that
outlived it, ``sent`` whether the signal found it alive.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import psutil

WRITES = {"os.rename", "os.mkdir", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.truncate"}
NEED_ROOM = {"open", "os.rename", "os.mkdir", "os.link", "os.symlink"}
LONGEST = 60.0


def import_all() -> None:
    """Import what the verbs need, but start no engine: threads do not survive a fork."""
    import onnx

    import edgeexit.cli.calibrate
    import edgeexit.cli.compile
    import edgeexit.cli.profile
    import edgeexit.cli.report
    import edgeexit.cli.run
    import edgeexit.compiler
    import edgeexit.runtime.energy

    assert onnx
    assert edgeexit


def hook(counter, event, action):
    """Return an audit hook that counts writes and acts at the n-th."""

    def audit(name, arguments):
        if name == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes or not isinstance(path, str | bytes) or os.fsdecode(path)[:5] == "/dev/":
                return
        elif name not in WRITES:
            return
        counter[0] += 1
        if event is None or counter[0] < event:
            return
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name in NEED_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    return audit


def child(job, begun, counted):
    """Become the command of ``job``, which begins where a byte is written; never returns."""
    os.setsid()
    folder = Path(job["folder"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    os.environ.update(job.get("environment", {}))
    if job.get("memory") is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + job["memory"]
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counter = [0]
    sys.addaudithook(hook(counter, job.get("event"), job.get("action")))
    from edgeexit.cli.main import main

    os.write(begun, b"1")
    try:
        main(job["words"])
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        os.write(counted, str(counter[0]).encode())


def living(group):
    """Tell whether a process of the group lives on, the dead that nobody has buried left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return bool(found)


def watch(job, pid):
    """Send the signal, wait for the end and return the answer."""
    begun = time.monotonic()
    sent, since = False, begun
    done, status, _ = 0, 0, None
    while not done:
        done, status, _ = os.wait4(pid, os.WNOHANG)
        now = time.monotonic()
        if not done and job.get("signal") and not sent and now - begun >= job["delay"]:
            os.kill(pid, job["signal"])
            sent, since = True, now
        if not done and now - since > LONGEST:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    late = time.monotonic() - since
    left = living(pid)
    if left:
        os.killpg(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "late": late, "sent": sent, "left": left}


def serve() -> None:
    """Answer jobs until there are no more."""
    import_all()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        (began, beginning), (reading, writing) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            child(job, beginning, writing)
        os.close(writing)
        os.close(beginning)
        os.read(began, 1)
        answer = watch(job, pid)
        written = os.read(reading, 20)
        os.close(reading)
        os.close(began)
        print(json.dumps({**answer, "writes": int(written or 0)}), flush=True)


if __name__ == "__main__":
    serve()
