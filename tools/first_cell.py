# The same in every notebook: install costlab only where it is missing, then start from fixed seeds.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("costlab") is None:
    extra = [
        name
        for name in ("safetensors", "tqdm", "torchao")
        if importlib.util.find_spec(name) is None
    ]
    wanted = ["costlab @ git+REPOSITORY", *extra]
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wanted])

from costlab import notebook

notebook.begin(seed=0)
