"""What every entry point does around its own family: refuse bad input, run chains on the cluster, write one study.

Messages from the workers arrive here, in one thread: it is the study's only writer to MLflow and to the terminal. The
store is the truth; what MLflow could not take for now is kept in line and written when it answers again.
"""

import errno
import gc
import hashlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components import cluster, config, logs, tracking
from components.config.errors import BadInput
from components.config.settings import RecursionSettings, StudySettings
from components.config.small_families import VaeSettings
from components.environment import cpu, machine
from components.families.language import kernels
from components.families.precision import Computing, agreed, unlike
from components.store import DamagedPhase, Heartbeat, Store, StoreUnavailable
from components.terminal import Snapshot, say

PROJECT = Path(__file__).resolve().parents[1]
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
NOT_THE_STUDY = {"store", "cluster", "tracking", "dry_run"}


def run_command(command: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> None:
    """Run an entry point and end the process: 0, or 2 with one line for each fault of the input, 1 for failed chains."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what `mlflow run` sends on Ctrl-C
    cluster.libraries_loaded()
    gc.freeze()  # what was imported stays: a tenth of a study's own processor time went into looking through it again
    try:
        logs.begin()
        command(arguments)
    except BadInput as fault:
        print(fault, file=sys.stderr)
        sys.exit(BAD_INPUT)
    except cluster.Failed as failure:
        for name, error in failure.errors.items():
            print(f"{name}: {error}", file=sys.stderr)
        print("What was finished is in the store: the same command continues from there.", file=sys.stderr)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(
            f"{error}. What was finished is in the store: with more space the same command continues.", file=sys.stderr
        )
        sys.exit(FAILED)
    except (StoreUnavailable, DamagedPhase, cluster.Lost) as error:
        print(f"{error}. What was finished is in the store: the same command continues from there.", file=sys.stderr)
        sys.exit(FAILED)
    except tracking.TrackingUnavailable as error:
        print(
            f"MLflow did not answer: {error}. All results are in the store: the same command writes them.",
            file=sys.stderr,
        )
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print("Stopped. The same command continues from what was finished.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def ask_workers(
    settings: StudySettings, store: Store, determining: Mapping[str, Any] | None = None
) -> tuple[Computing, cluster.Capacity]:
    """Ask the machines that will run the workers whether they can, and what they compute in; say so if they are unlike.

    Args:
        determining: the settings that make a study or a sweep what it is; the study's own if not given.

    Returns:
        What the study computes in, and what the cluster has.

    Raises:
        BadInput: a machine cannot serve, or they cannot compute one study together.
    """
    match settings:
        case RecursionSettings():
            wanted = {"train.precision": settings.train.precision, "generate.precision": settings.generate.precision}
            capacity, machines = cluster.check(
                settings.cluster, settings.train.workers, store, kernels.worker, gpu=True
            )
        case VaeSettings():
            wanted = {"train.precision": settings.train.precision}
            capacity, machines = cluster.check(settings.cluster, 1, store, machine, gpu=True)
        case _:  # a family in memory computes in NumPy
            wanted = {}
            capacity, machines = cluster.check(settings.cluster, 1, store, cpu)
    if mixed := unlike(machines):
        say(mixed)
    given = settings.model_dump(mode="json") if determining is None else determining
    return agreed(store, given, wanted, machines, keep=not settings.dry_run), capacity


@contextmanager
def closing(study: tracking.Study) -> Iterator[None]:
    """Ends the study's run as failed or killed when what is done within does not come to its end."""
    try:
        yield
    except BaseException as error:
        try:
            tracking.close_study(study, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        except tracking.TrackingUnavailable as away:
            say(f"MLflow does not answer ({away}): the study's run stays open there")
        raise


@contextmanager
def remembered(store: Store, settings: Any) -> Iterator[None]:
    """Keep with the store what a preset was last started with, and whether it came to its end.

    Where one that did not is started again with other settings, that is no continuation: what differs is said.
    """
    name = f"studies/{settings.entry_point}-{settings.preset}.json"
    now = settings.model_dump(mode="json", exclude=NOT_THE_STUDY)
    last = store.read_json(name)
    if last and not last["finished"] and last["settings"] != now:
        before, after = dict(config.dotted(last["settings"])), dict(config.dotted(now))
        differing = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        changes = ", ".join(f"{key} is {after.get(key)}, was {before.get(key)}" for key in differing)
        say(
            f"This preset was stopped before its end, with other settings: {changes}. Chains that this changes begin anew; "
            "what the others have is taken, and the settings as they were would continue all."
        )
    store.write_json(name, {"settings": now, "finished": False})
    yield
    store.write_json(name, {"settings": now, "finished": True})


@contextmanager
def told(store: Store, settings: Any, study: str) -> Iterator[Callable[[Snapshot], None]]:
    """Whoever looks at the store hears of the study while it runs (`mlflow run . -e status`); so do all lines of its logs.

    Gives what takes how far it is.
    """
    about = {"entry_point": settings.entry_point, "preset": settings.preset}
    with Heartbeat(store, study, about) as heartbeat, logs.at(study=study):
        yield lambda snapshot: heartbeat.tell(snapshot.to_json())


def study_name(settings: Any, identity: str) -> str:
    """What a study is called in its store: entry point, preset, and the beginning of its identity."""
    return f"{settings.entry_point}-{settings.preset}-{identity[:8]}"


def study_identity(entry_point: str, chains: Sequence[str], generations: int) -> str:
    """What makes two commands the same study: its chains, and how far they go."""
    return hashlib.sha256("\n".join([entry_point, *chains, str(generations)]).encode()).hexdigest()
