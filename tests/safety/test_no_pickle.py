"""Nothing is ever unpickled and no text is ever run: by reading the product's code, and by watching it at work."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from problems import class_shards

ROOT = Path(__file__).parents[2]
PRODUCT = [
    path for folder in ("selffl_cli", "data_prep", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))
]
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "yaml",
    "imp",
}
CALLS = {"eval", "exec", "compile", "__import__"}  # as plain names: a module's eval() is another thing
METHODS = {
    ("torch", "load"), ("torch", "save"), ("yaml", "load"), ("os", "system"), ("os", "popen"), ("pickle", "loads"),
    ("pandas", "read_pickle"), ("pd", "read_pickle"), ("np", "fromfile"),
}  # fmt: skip


def dangers(code: str) -> list[str]:
    """What in a module could run what it reads, as "line: what"."""
    found = []
    for node in ast.walk(ast.parse(code)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [(node.module or "").partition(".")[0]]
        found += [f"{node.lineno}: import {name}" for name in names if name in MODULES]
        if not isinstance(node, ast.Call):
            continue
        at = node.func
        if isinstance(at, ast.Name) and at.id in CALLS:
            found.append(f"{node.lineno}: {at.id}(…)")
        if isinstance(at, ast.Attribute) and isinstance(at.value, ast.Name):
            if (at.value.id, at.attr) in METHODS:
                found.append(f"{node.lineno}: {at.value.id}.{at.attr}(…)")
            if (at.value.id, at.attr) in (("np", "load"), ("numpy", "load")) and not any(
                k.arg == "allow_pickle" and isinstance(k.value, ast.Constant) and k.value.value is False
                for k in node.keywords
            ):
                found.append(f"{node.lineno}: np.load without allow_pickle=False")
        for keyword in node.keywords:
            true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if true and keyword.arg in ("allow_pickle", "shell", "trust_remote_code"):
                found.append(f"{node.lineno}: {keyword.arg}=True")
    return found


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    """The door alone runs a file: the one that a user names for a class of his own, the very bytes that were hashed."""
    found = [text.partition(": ")[2] for text in dangers(path.read_text(encoding="utf-8"))]
    assert found == (["exec(…)", "compile(…)"] if path == ROOT / "selffl_cli" / "registry.py" else [])


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "import os\nos.system('x')", "eval('1')", "exec(a)",
        "import torch\ntorch.load('x')", "np.load('x')", "np.load('x', allow_pickle=True)", "run(x, shell=True)",
        "load_dataset(x, trust_remote_code=True)", "__import__('os')",
    ],
)  # fmt: skip
def test_each_danger_is_seen(code: str) -> None:
    assert dangers(code)


# Runs commands in one process that notes every unpickled name, every code object made from text, and who asked.
WATCH = """
import sys, traceback
seen = []
OWN = ("selffl_cli", "data_prep")

def hook(event, args):
    if event not in ("pickle.find_class", "marshal.loads", "exec", "compile", "os.system", "subprocess.Popen"):
        return
    frame, depth = sys._getframe(1), 0
    while frame is not None and depth < 3:  # the nearest callers: an import machinery further out is not ours
        name = frame.f_code.co_filename
        if any(f"/{own}/" in name for own in OWN):
            if event in ("exec", "compile", "marshal.loads", "subprocess.Popen") and depth:
                break  # made by a library that we called (namedtuple, dataclass, an import)
            seen.append((event, str(args[0])[:80], name, frame.f_lineno))
            break
        frame, depth = frame.f_back, depth + 1
    if event == "pickle.find_class":
        chain = [f.filename for f in traceback.extract_stack()]
        if any(f"/{own}/" in name for own in OWN for name in chain):
            seen.append((event, str(args)[:120], "called from ours", chain[-3:]))

sys.addaudithook(hook)
from selffl_cli.cli.main import main
for words in WORDS:
    code = main(words)
    assert code == 0, (words, code)
assert "torch" in sys.modules and "pyarrow" in sys.modules
print("SEEN", seen)
if PROBE:
    import pickle
    from data_prep.sets import digits
    namespace = {"__file__": digits.__file__}
    text = "import pickle\\ndef f():\\n    pickle.loads(pickle.dumps(complex(1, 2)))"
    exec(compile(text, digits.__file__, "exec"), namespace)
    namespace["f"]()
    print("PROBED", any(event == "pickle.find_class" for event, *_ in seen))
"""

TOML = """
name = "tiny"
data = {name = "blobs"}
model = {name = "softmax"}
train = {rounds = 4, eval_every = 2, participation = 0.6}
methods = {actperfl = {}, fedavg = {}}
"""


@pytest.mark.slow
def test_nothing_is_unpickled_at_work(tmp_path: Path) -> None:
    """prepare, train (stopped, resumed, two workers), eval and report under an audit hook of the interpreter."""
    class_shards(tmp_path / "blobs")
    (tmp_path / "tiny.toml").write_text(TOML)
    train = ["train", "tiny.toml", "--data", "./blobs", "--checkpoint-seconds", "0"]
    words = [
        ["prepare", "digits", "--clients", "5"],
        [*train, "--budget", "1s"],  # leaves a checkpoint where the machine is slow enough
        [*train, "--workers", "2"],
        ["eval", "RUN", "--part", "test"],
        ["report", "tiny.toml"],
    ]
    found = "[w for a in words for w in (glob.glob('runs/tiny/*-s0-*') if a == 'RUN' else [a])]"
    watch = WATCH.replace("main(words)", f"main({found})")
    script = f"import glob\nWORDS = {words!r}\nPROBE = True\n{watch}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "SEEN []" in done.stdout, done.stdout[-3000:]
    assert "PROBED True" in done.stdout, "the hook sees what it is to see"
