"""`python -m benchmarks [section ...]`: every speed that this project claims, against its peers, in one run.

Needs torch, transformers and numpy; what needs more (DeepSpeed, CTranslate2, OpenVINO, scikit-learn, Ray) is left out where it
is not installed, and says so. Prints a table as soon as it is measured and leaves a JSON a section in `benchmarks/results`.
No speed is printed where outputs are wrong. An hour and a half on two cores.
"""

import subprocess
import sys
from importlib.util import find_spec

import torch
import transformers

from benchmarks import generation, paper_generation, sampling, scaling, scoring, study, tracking, training, workers
from benchmarks.measure import ceilings, table
from benchmarks.record import record

SECTIONS = {
    "generation": generation,
    "sampling": sampling,
    "scoring": scoring,
    "training": training,
    "workers": workers,
    "study": study,
    "tracking": tracking,
    "scaling": scaling,
    "paper_generation": paper_generation,
}
OTHERS = ("small_families", "vae")
"""Programs of their own, with one thread a process."""


def main(arguments: list[str]) -> int:
    """Runs the sections named, several to an argument if need be (MLflow hands on one); `all` or none means all of them."""
    known = (*SECTIONS, *OTHERS)
    wanted = [name for argument in arguments for name in argument.split() if name != "all"]
    if unknown := [name for name in wanted if name not in known]:
        print(f"sections = {unknown[0]}: none of {', '.join(known)}", file=sys.stderr)
        return 2
    transformers.logging.set_verbosity_error()
    for name in wanted or known:
        if name in OTHERS:
            if find_spec("sklearn"):
                subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
            else:
                print(f"left out: {name} needs scikit-learn")
            continue
        limits = ceilings()
        print(table([{"what": f"ceilings of this machine, {torch.get_num_threads()} threads", **limits}]))
        if not (rows := SECTIONS[name].run(limits)):
            continue
        record(name, [{"what": "ceilings", **limits}, *rows])
        print(f"\n{table(rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
