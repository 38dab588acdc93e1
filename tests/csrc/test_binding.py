"""What the engine refuses from Python: an exception, where it would otherwise read or write what is not its own."""

import subprocess
import sys

import pytest

pytest.importorskip("ringleader.csrc.cpu._engine", reason="the engine is not built")

SETUP = """
import os
import numpy as np
from ringleader.csrc.cpu import _engine as engine
node = engine.Node(0, 1, 16 << 20)
node.connect([node.address()])
caller = engine.Caller(node, 1, 0, [0])
caller.connect([caller.area])
collective = engine.Purpose.collective
def plan(way="small", count=4, program=None):
    return engine.Plan(way, 1, "text", "float64", "sum", count, program=program)
def program(kind, peer=0, buffer=1, start=0, nbytes=8):
    places = [(buffer, start, nbytes)]
    return engine.Program([(kind, peer, places if kind != "recv" else [],
                            places if kind != "send" else [], [0] if kind != "send" else [], [])], 0, 0)
"""
REFUSED = {
    "a file that is not there": (
        "engine.Node(0, 2, 16 << 20).connect([node.address(), (os.getppid(), 10**6, 16 << 20, 0, 0)])", "OSError",
    ),
    "a file that is another": (
        "pid, fd, size, start, identity = node.address()\n"
        "import subprocess, sys, tempfile\n"
        "with tempfile.TemporaryFile() as file:\n"
        "    file.truncate(size)\n"
        "    holder = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, pass_fds=[file.fileno()])\n"
        "    address = holder.pid, file.fileno(), size, start, identity\n"
        "    try:\n"
        "        engine.Node(0, 2, 16 << 20).connect([node.address(), address])\n"
        "    finally:\n"
        "        holder.communicate(b'')",
        "OSError",
    ),
    "a process of the same number elsewhere": (
        "engine.Node(0, 2, 16 << 20).connect([node.address(), (os.getpid(), 10**6, 16 << 20, 0, 0)])", "OSError",
    ),
    "too few addresses": ("engine.Node(0, 2, 16 << 20).connect([node.address()])", "ValueError"),
    "no ranks": ("engine.Node(0, 0, 16 << 20)", "ValueError"),
    "a rank outside its node": ("engine.Node(2, 2, 16 << 20)", "ValueError"),
    "a neighbour that is none": ("node.dead(1)", "IndexError"),
    "another that is none": ("node.left(-1)", "IndexError"),
    "a member that is none": ("engine.Caller(node, 4, 0, [1])", "ValueError"),
    "a group without its own rank": ("engine.Caller(node, 4, 1, [0])", "ValueError"),
    "too few areas": ("engine.Caller(node, 4, 0, [0]).connect([])", "ValueError"),
    "a message to anyone": ("engine.Message(caller, np.zeros(4), False, -1, collective, 0)", "IndexError"),
    "a message to nobody": ("engine.Message(caller, np.zeros(4), False, 1, collective, 0)", "IndexError"),
    "a message in pieces": ("engine.Message(caller, np.zeros(9)[::3], False, 0, collective, 0)", "ValueError"),
    "a message of columns": ("engine.Message(caller, np.zeros((3, 4)).T, True, 0, collective, 0)", "ValueError"),
    "a note that is too long": (
        "engine.Message(caller, np.zeros(4), False, 0, engine.Purpose.direct, 0, note=b'x' * 193)", "ValueError",
    ),
    "a payload taken in pieces": ("engine.take(caller, 0, 1, np.zeros(9)[::3])", "ValueError"),
    "a payload of nobody": ("engine.take(caller, 1, 1, np.zeros(9))", "IndexError"),
    "a payload that cannot be folded": ("engine.add_up(caller, np.zeros(9), [(0, 1)], 'float80', True)", "ValueError"),
    "a payload of another length": (
        "sent = engine.Message(caller, node.empty([4], np.dtype('f8')), False, 0, engine.Purpose.direct, 1, note=b'x')\n"
        "assert engine.hear(caller) == [(0, b'x', True)]\n"
        "engine.take(caller, 0, 1, np.zeros(5))",
        "RuntimeError",
    ),
    "a payload for what is read-only": (
        "sent = engine.Message(caller, node.empty([4], np.dtype('f8')), False, 0, engine.Purpose.direct, 1, note=b'x')\n"
        "into = np.zeros(4)\ninto.flags.writeable = False\n"
        "assert engine.hear(caller) == [(0, b'x', True)]\n"
        "engine.take(caller, 0, 1, into)",
        "ValueError",
    ),
    "an array that is too small": ("caller.call(plan(), 0, None, np.zeros(3))", "ValueError"),
    "an array in pieces": ("caller.call(plan(), 0, None, np.zeros(9)[::2])", "ValueError"),
    "an array that is none": ("caller.call(plan(), 0, None, [1.0] * 4)", "TypeError"),
    "a small output of a program": (
        "caller.submit(plan('program', 0, program('recv', start=16)), 0, None, np.zeros(2))", "ValueError",
    ),
    "no input for a program": ("caller.call(plan('program', 0, program('send', buffer=0)), 0, None, np.zeros(2))", "TypeError"),
    "a program for more ranks": ("caller.call(plan('program', 0, program('send', 1)), 0, None, np.zeros(2))", "ValueError"),
    "a program of a buffer that is none": ("program('send', buffer=4)", "ValueError"),
    "a program that outgrows its scratch": ("program('send', buffer=2)", "ValueError"),
    "a message of another length in a program": (
        "both = [('send', 0, [(1, 0, 16)], [], [], []), ('recv', 0, [], [(1, 16, 8)], [0], [])]\n"
        "caller.call(plan('program', 0, engine.Program(both, 0, 0)), 0, None, np.zeros(3))",
        "RuntimeError",
    ),
    "a plan without its program": ("plan('program')", "ValueError"),
    "objects in shared memory": ("node.empty([4], np.dtype(object))", "TypeError"),
    "a fold of unequal arrays": ("engine.fold('sum', np.zeros(9), np.zeros(9), np.zeros(3))", "ValueError"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    statement, error = REFUSED[name]
    attempt = "\n    ".join(statement.split("\n"))
    script = f"{SETUP}\ntry:\n    {attempt}\nexcept {error} as refusal:\n    print('refused:', refusal)\n"
    done = subprocess.run(
        [sys.executable, "-c", script], text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("refused: "), (
        done.returncode,
        done.stdout,
        done.stderr,
    )


def test_a_forked_child_does_not_leave_for_its_parent():
    script = "pid = os.fork()\nif not pid:\n    node.leave()\n    os._exit(0)\nos.waitpid(pid, 0)\nprint(node.left(0))\n"
    script += "node.leave()\nprint(node.left(0))\n"
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script], text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == "False\nTrue\n", (done.stdout, done.stderr)


@pytest.mark.parametrize("sleep", [False, True])
def test_a_wait_for_news_ends(sleep):
    script = f"print(node.await_news(1000, {sleep}))\n"
    script += "sent = engine.Message(caller, np.zeros(4), False, 0, engine.Purpose.direct, 1, note=b'x')\n"
    script += f"print(node.await_news(1000, {sleep}))"
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script], text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == "False\nTrue\n", (done.stdout, done.stderr)


@pytest.mark.parametrize("quiet", [False, True])
def test_that_a_quiet_message_has_been_read_is_no_news(quiet):
    script = f"""
sent = engine.Message(
    caller, node.empty([99], np.dtype("f8")), False, 0, engine.Purpose.direct, 1, note=b"x", quiet={quiet}
)
print(node.await_news(1000, True), engine.hear(caller), engine.take(caller, 0, 1, np.empty(99)))
print(node.await_news(1000, True), sent.test())
"""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script], text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == f"True [(0, b'x', True)] True\n{not quiet} True\n", (done.stdout, done.stderr)


@pytest.mark.parametrize("past", [False, True])
def test_a_payload_is_taken_to_any_address(past):
    script = f"""
sent = node.empty([99], np.dtype("f8"))
sent[:] = np.arange(99)
message = engine.Message(caller, sent, False, 0, engine.Purpose.direct, 1, note=b"x")
engine.hear(caller)
memory = np.full(99 * 8 + 11, 7, np.uint8)
print(engine.take(caller, 0, 1, memory[3:-8], past={past}))
print((memory[:3] == 7).all(), (memory[-8:] == 7).all(), (memory[3:-8].view() == sent.view(np.uint8)).all())
"""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script], text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == "True\nTrue True True\n", (done.stdout, done.stderr)
