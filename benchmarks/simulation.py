"""A study as a discrete-event model: how long it takes on so many groups, what is waited for, and what failures cost.

    base model -> groups start -> each takes a chain after another, phase by phase -> one writer records the generations

The rules are the program's own. A phase is computed once: who wants it meanwhile waits for the lock, and then finds it.
A group lives from its first chain to its last. A machine that fails takes its groups along; they lose the phase they were
at, start again, and the chain goes on from the store. Whatever the writer has not recorded waits in line, workers do not.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

KINDS = ("compose", "fit", "sample", "measure")


@dataclass(frozen=True)
class Phase:
    """Work that one group does for all who want it; `identity` as in the store, by which they find it."""

    identity: str
    seconds: float


Chain = Sequence[Sequence[Phase]]
"""Generations, of phases one after the other."""


@dataclass(frozen=True)
class Cluster:
    """What a study runs on. All times are in seconds.

    `groups` side by side, of `workers` each, fill machines of `gpus_a_machine` one after the other. `start_up`: until a
    new group can compute. `take_up`: from one chain to the next. `look_up`: of a phase beside its work (lock, store).
    `record`: of the writer, a generation. `between_failures`: of one machine, on average; `repair`: until it is back.
    """

    groups: int = 1
    workers: int = 1
    gpus_a_machine: int = 8
    start_up: float = 0.0
    take_up: float = 0.0
    look_up: float = 0.0
    record: float = 0.0
    between_failures: float = inf
    repair: float = 0.0

    def machines_of(self, group: int) -> range:
        first, end = group * self.workers, (group + 1) * self.workers
        return range(first // self.gpus_a_machine, (end - 1) // self.gpus_a_machine + 1)


@dataclass
class Outcome:
    """How a study went, in seconds from its first group's start.

    `seconds`: until all is computed and recorded; `computed`: until the last chain's end. Summed over groups: `busy`, work
    that was finished, `waited`, for phases that others computed, `lost`, work that a failure threw away. `failures`: those
    that hit a group. `backlog`: the most generations that the writer ever had before it, the one in hand included.
    """

    seconds: float = 0.0
    computed: float = 0.0
    busy: float = 0.0
    waited: float = 0.0
    lost: float = 0.0
    failures: int = 0
    starts: int = 0
    backlog: int = 0
    times_computed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Condition:
    """A condition's phases by kind, in seconds. Conditions with the same `generation0` share that one, seed by seed."""

    name: str
    seconds: Mapping[str, float]
    generation0: str


def make_chains(conditions: Sequence[Condition], seeds: int, last: int) -> list[Chain]:
    """Conditions x seeds, in the order in which a study posts them, with generations 0 to `last`.

    All generations 0 are composed alike, of the real data.
    """

    def phase(condition: Condition, seed: int, generation: int, kind: str) -> Phase:
        owner = condition.name if generation else condition.generation0
        name = f"{kind} of {owner}, seed {seed}, generation {generation}"
        return Phase("the real data" if kind == "compose" and not generation else name, condition.seconds[kind])

    return [
        [[phase(condition, seed, generation, kind) for kind in KINDS] for generation in range(last + 1)]
        for condition in conditions
        for seed in range(seeds)
    ]


def simulate(chains: Sequence[Chain], cluster: Cluster, base: float | None = None, seed: int = 0) -> Outcome:
    """Run a study.

    Args:
        base: seconds of the base model, which a group of its own makes first; nothing where the store has it.
        seed: of the times at which machines fail.
    """
    return _Run(chains, cluster, seed).outcome(0.0 if base is None else cluster.start_up + base)


def least_seconds(chains: Sequence[Chain], groups: int) -> float:
    """What no schedule can beat: the longest chain, and all work that differs spread over all groups."""
    work = {phase.identity: phase.seconds for chain in chains for generation in chain for phase in generation}
    longest = max(sum(phase.seconds for generation in chain for phase in generation) for chain in chains)
    return max(longest, sum(work.values()) / groups)


class _Lost(Exception):
    """The machine under a group failed."""


Steps = Generator["float | list[Callable[[], None]]", None, None]
"""What a process does: it yields seconds that pass, or a line in which it stands until it is called."""


class _Clock:
    """Calls by the time at which they are due; those of one moment in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self._asked += 1
        heapq.heappush(self._due, (self.now + seconds, self._asked, call))

    def call_all(self, line: list[Callable[[], None]]) -> None:
        while line:
            self.after(0.0, line.pop(0))

    def run_until(self, over: Callable[[], bool]) -> None:
        while not over():
            self.now, _, call = heapq.heappop(self._due)
            call()


class _Process:
    """Steps on a clock. What an interrupted process had waited for calls it in vain."""

    def __init__(self, clock: _Clock, steps: Steps) -> None:
        self.ended = False
        self._clock, self._steps, self._turn = clock, steps, 0

    def begin(self) -> None:
        self._clock.after(0.0, partial(self._go, self._turn))

    def interrupt(self, error: Exception) -> None:
        self._on(lambda: self._steps.throw(error))

    def _go(self, turn: int) -> None:
        if turn == self._turn:
            self._on(lambda: next(self._steps))

    def _on(self, step: Callable[[], float | list[Callable[[], None]]]) -> None:
        self._turn += 1
        try:
            wait = step()
        except StopIteration:
            self.ended = True
            return
        go = partial(self._go, self._turn)
        if isinstance(wait, list):
            wait.append(go)
        else:
            self._clock.after(wait, go)


class _Run:
    """A study under way: what waits, what is finished, who holds what."""

    def __init__(self, chains: Sequence[Chain], cluster: Cluster, seed: int) -> None:
        self.chains, self.cluster, self.random = chains, cluster, random.Random(seed)
        self.clock, self.told = _Clock(), Outcome()
        self.waiting = deque(range(len(chains)))
        self.finished: set[str] = set()
        self.held: dict[str, list[Callable[[], None]]] = {}
        self.reported: set[tuple[int, int]] = set()
        self.line: deque[tuple[int, int]] = deque()
        self.writer_waits: list[Callable[[], None]] = []
        self.unrecorded = sum(len(chain) for chain in chains)

    def outcome(self, beginning: float) -> Outcome:
        self.clock.now = beginning
        self.groups = [_Process(self.clock, self.group()) for _ in range(self.cluster.groups)]
        for process in (*self.groups, _Process(self.clock, self.writer())):
            process.begin()
        if self.cluster.between_failures < inf:
            for machine in range(self.cluster.machines_of(self.cluster.groups - 1)[-1] + 1):
                _Process(self.clock, self.machine(machine)).begin()
        self.clock.run_until(lambda: not self.unrecorded)
        self.told.seconds = self.clock.now
        return self.told

    def group(self) -> Steps:
        """Starts, serves chains while there are any, and starts again whenever its machine fails."""
        pause = 0.0
        while self.waiting:
            chain = None
            try:
                self.told.starts += 1
                yield pause + self.cluster.start_up
                while self.waiting:
                    chain = self.waiting.popleft()
                    yield self.cluster.take_up
                    for index, generation in enumerate(self.chains[chain]):
                        for phase in generation:
                            yield from self.obtain(phase)
                        self.report(chain, index)
                    chain, self.told.computed = None, self.clock.now
            except _Lost:
                if chain is not None:
                    self.waiting.appendleft(chain)
                pause = self.cluster.repair

    def obtain(self, phase: Phase) -> Steps:
        """Find a phase, or wait for who computes it, or compute it."""
        yield self.cluster.look_up
        while phase.identity not in self.finished:
            since = self.clock.now
            if phase.identity in self.held:
                yield self.held[phase.identity]
                self.told.waited += self.clock.now - since
                continue
            self.held[phase.identity] = []
            try:
                yield phase.seconds
                self.finished.add(phase.identity)
                self.told.times_computed[phase.identity] += 1
                self.told.busy += phase.seconds
            except _Lost:
                self.told.lost += self.clock.now - since
                raise
            finally:
                self.clock.call_all(self.held.pop(phase.identity))

    def report(self, chain: int, generation: int) -> None:
        """To the writer, once: a chain that goes on after a failure finds its first generations in the store."""
        if (chain, generation) not in self.reported:
            self.reported.add((chain, generation))
            self.line.append((chain, generation))
            self.told.backlog = max(self.told.backlog, len(self.line))
            self.clock.call_all(self.writer_waits)

    def writer(self) -> Steps:
        while True:
            while not self.line:
                yield self.writer_waits
            yield self.cluster.record
            self.line.popleft()
            self.unrecorded -= 1

    def machine(self, number: int) -> Steps:
        """Fails now and then, which ends what its groups were at; a machine that is being repaired does not fail."""
        while True:
            yield self.random.expovariate(1 / self.cluster.between_failures)
            hit = [g for n, g in enumerate(self.groups) if number in self.cluster.machines_of(n) and not g.ended]
            self.told.failures += bool(hit)
            for group in hit:
                group.interrupt(_Lost())
            yield self.cluster.repair
