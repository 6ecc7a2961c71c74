"""`python -m benchmarks.scaling_page`: fills the tables of docs/scaling.md and draws its figures.

What was measured comes out of `benchmarks/results/scaling.json` and `tracking.json`; all else is projected here, without a GPU.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.projection import (
    CARDS,
    EPOCHS,
    OPTIMISTIC,
    PESSIMISTIC,
    RANGE,
    SIZES,
    WORKERS,
    Assumptions,
    best_workers,
    binding,
    decoding_seconds,
    decoding_step,
    memory,
    own_micro_batch,
    phase_seconds,
    placement,
    prompts_at_once,
    studies,
    study,
)
from components.environment import Precision
from components.families.language.architecture import parameter_count
from components.figures.style import CONDITION_COLOURS, FONT, dress, log_axis, panels

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
MEASURED = Path(__file__).parent / "results" / "scaling.json"
TRACKING = Path(__file__).parent / "results" / "tracking.json"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
GPUS = (1, 10, 100)
ALL_GPUS = (1, 2, 3, 5, 8, 10, 16, 20, 30, 40, 60, 80, 100)
MEMORIES = (24, 40, 80, 141)
RECORDS = (0.5, 1.0, 2.0, 5.0)
CHAINS = (10, 20, 50, 100, 200, 500)
MOST_CHAINS = 1000
NOTICEABLE = 0.05
HOURS_BETWEEN_FAILURES = (6300, 168, 24, 4, 1)
DRAWS = 100
H100 = "H100 80 GB"


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text()))
    for name, draw in {"gpus": gpus_figure, "writer_and_failures": limits_figure}.items():
        draw().savefig(PAGE.parent / "scaling" / f"{name}.png", dpi=110)


def filled(page: str) -> str:
    """The page with every table between its marks made anew.

    Raises:
        ValueError: the page has no place for a table.
    """
    for name, make in BLOCKS.items():
        marks = re.compile(rf"(<!-- {name}: filled by [^\n]* -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        page, places = marks.subn(lambda found, make=make: f"{found[1]}\n{make()}\n\n{found[2]}", page)  # type: ignore[misc]
        if places != 1:
            raise ValueError(f"{PAGE.name} has {places} places for {name}")
    return page


def measured() -> str:
    if not MEASURED.exists():
        return "Not measured yet."
    content = json.loads(MEASURED.read_text())
    lines = [f"{content['machine']}, {content['date']}, commit {content['commit']}."]
    for row in content["results"][1:]:
        numbers = [(name, f"{value:,.3g}") for name, value in row.items() if name != "what"]
        lines.append(markdown([row["what"], ""], numbers))
    return "\n\n".join(lines)


def tracking() -> str:
    content = json.loads(TRACKING.read_text())
    where = f"{content['machine']}, {content['date']}, commit {content['commit']}."
    numbers = ("seconds a generation", "requests a generation", "requests a second")
    rows = [
        [row["what"], *(f"{row[name]:,.3g}" if name in row else "-" for name in numbers)]
        for row in content["results"][1:]
    ]
    return f"{where}\n\n{markdown(['where, and studies at once', *numbers], rows)}"


def assumptions() -> str:
    said = {
        "trained": "share of bf16 operations in fits",
        "scored": "share of fp32 operations in scoring and fp32 decoding",
        "decoded": "share of bf16 operations in bf16 decoding",
        "streamed": "share of the memory's bandwidth",
        "linked": "share of the link between GPUs",
        "launch": "microseconds from one kernel to the next",
        "host": "GB/s of weights read, copied, digested, written",
        "text": "seconds a generation's text is decoded, and again counted",
        "start_up": "seconds until a new group computes",
        "look_up": "seconds of a phase beside its work",
        "record": "seconds of the writer a generation",
    }
    values = [[getattr(each, name) * (1e6 if name == "launch" else 1) for each in RANGE] for name in said]
    return markdown(
        ["assumed", "optimistic", "pessimistic"],
        [(text, *(f"{value:g}" for value in pair)) for text, pair in zip(said.values(), values, strict=True)],
    )


def phases() -> str:
    rows = []
    for model, workers in (("OPT-125m", 1), ("OPT-125m", 8), ("OPT-1.3B", 1), ("OPT-6.7B", 8)):
        for precision in PRECISIONS:
            ends = [phase_seconds(model, H100, assumed, workers, 5, precision) for assumed in RANGE]
            cells = [ranged(*(end[kind] for end in ends)) for kind in ("fit", "sample", "measure")]
            rows.append((model, str(workers), precision, *cells))
    return markdown(["model", "GPUs a chain", "decoding", "fit, 5 epochs (s)", "sample (s)", "measure (s)"], rows)


def hours() -> str:
    rows = []
    for model in SIZES:
        for card in CARDS:
            for precision in PRECISIONS:
                cells = [_hours(model, card, gpus, precision) for gpus in GPUS]
                rows.append((model, card, precision, *cells, _ten_times_as_many_chains(model, card, precision)))
    names = [f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS]
    return markdown(["model", "card", "decoding", *names, "50 seeds on 100 GPUs"], rows)


def _ten_times_as_many_chains(model: str, card: str, precision: Precision) -> str:
    """A hundred chains, each on as few GPUs as hold it."""
    workers = next(w for w in WORKERS if placement(SIZES[model], w, precision, CARDS[card].gigabytes))
    return f"{ranged(*studies(model, card, 100, workers, precision, seeds=50))} h ({workers} a chain)"


def _hours(model: str, card: str, gpus: int, precision: Precision) -> str:
    if (workers := best_workers(model, card, gpus, precision)) is None:
        return "does not fit"
    return f"{ranged(*studies(model, card, gpus, workers, precision))} h ({workers} a chain)"


def memories() -> str:
    rows = []
    for model in ("OPT-1.3B", "OPT-6.7B"):
        for stage, workers in ((0, 1), (1, 2), (1, 8), (2, 2), (2, 8), (3, 2), (3, 8)):
            fp32 = memory(SIZES[model], stage, workers, 16, "fp32")
            bf16 = memory(SIZES[model], stage, workers, 16, "bf16")["sample"]
            parts = [fp32[part] for part in ("fit", "before partitioning", "sample")]
            rows.append((model, str(stage), str(workers), *(f"{part:.1f}" for part in (*parts, bf16, fp32["measure"]))))
    names = ["fit", "before partitioning", "sample, fp32", "sample, bf16", "measure"]
    return markdown(["model", "ZeRO stage", "GPUs a chain", *(f"{name} (GB)" for name in names)], rows)


def placements() -> str:
    rows = []
    for model, size in SIZES.items():
        cells = []
        for gigabytes in MEMORIES:
            able = [(workers, placement(size, workers, "fp32", gigabytes)) for workers in WORKERS]
            first = next(((workers, *placed) for workers, placed in able if placed), None)
            if first:
                own = own_micro_batch(size, first[1], first[0], gigabytes)
                cells.append(f"{first[0]}, stage {first[1]}, {first[2]} ({own})")
            else:
                cells.append("does not fit")
        rows.append((f"{model}, {parameter_count(size) / 1e9:.3f} billion", *cells))
    return markdown(["model", *(f"{gigabytes} GB" for gigabytes in MEMORIES)], rows)


def decoding() -> str:
    rows = []
    for model, size in SIZES.items():
        for precision in PRECISIONS:
            steps = [decoding_step(size, CARDS[H100], assumed, precision) for assumed in RANGE]
            binds = dict.fromkeys(binding(step) for step in steps)
            parts = [ranged(*(1e3 * step[part] for step in steps)) for part in steps[0]]
            at_once = prompts_at_once(size, precision, CARDS[H100].gigabytes)
            whole = ranged(*(1e3 * decoding_seconds(step) for step in steps))
            rows.append((model, precision, str(at_once), *parts, whole, ", then ".join(binds)))
    names = ["products", "weights", "keys and values", "logits", "launches", "a step"]
    return markdown(["model", "decoding", "prompts at once", *(f"{name} (ms)" for name in names), "what binds"], rows)


def writer() -> str:
    rows = []
    for name, assumed in (("optimistic", OPTIMISTIC), ("pessimistic", PESSIMISTIC)):
        each = [phase_seconds("OPT-125m", H100, assumed, 1, epochs, "fp32") for epochs in EPOCHS.values()]
        generation = mean(sum(seconds.values()) for seconds in each)
        for record in RECORDS:
            eights = [study("OPT-125m", H100, assumed, 100, 8, record=r).seconds for r in (record, 0.0)]
            added = [f"{100 * _added(assumed, 100, record):.1f}", f"{100 * (eights[0] / eights[1] - 1):.1f}"]
            bound = f"{generation / record:,.0f}"
            rows.append((f"{record:g} s", name, bound, _first_noticed(assumed, record), *added))
    names = ["a generation's seconds over the writer's", "chains from which a study is 5 % longer (simulated)"]
    names += ["100 chains, a GPU each: longer by (%)", "10 chains, 8 GPUs each: longer by (%)"]
    return markdown(["a generation recorded in", "phases", *names], rows)


def _first_noticed(assumed: Assumptions, record: float) -> str:
    """Chains side by side, in tens, from which the writer adds a twentieth."""
    tens = range(1, MOST_CHAINS // 10 + 1)
    first = bisect_left(tens, True, key=lambda ten: _added(assumed, 10 * ten, record) > NOTICEABLE)
    return f"{10 * tens[first]:,}" if first < len(tens) else f"over {MOST_CHAINS:,}"


def _added(assumed: Assumptions, chains: int, record: float) -> float:
    """By which share a study of OPT-125m with so many chains side by side, a GPU each, takes longer than without a writer."""
    return _recorded(assumed, chains, record) / _recorded(assumed, chains, 0.0) - 1


@cache
def _recorded(assumed: Assumptions, chains: int, record: float) -> float:
    return study("OPT-125m", H100, assumed, chains, 1, seeds=chains // 2, record=record).seconds


def failures() -> str:
    rows = []
    for model in ("OPT-125m", "OPT-6.7B"):
        for between in HOURS_BETWEEN_FAILURES:
            ends = [_failing(model, assumed, between) for assumed in RANGE]
            cells = (ranged(*(end[column] for end in ends)) for column in range(3))
            rows.append((model, f"{between:,} h", *cells, ranged(*(100 * end[3] for end in ends))))
    names = ["failures in the study", "GPU-hours of work lost", "study longer by (h)", "longer by (%)"]
    return markdown(["model", "a machine fails every", *names], rows)


def _failing(model: str, assumed: Assumptions, between: float) -> tuple[float, float, float, float]:
    """On 100 GPUs, 8 a chain: mean failures, mean GPU-hours of work lost, by how many hours, and which share, a study is longer."""
    undisturbed = study(model, H100, assumed, 100, 8).seconds
    runs = [study(model, H100, assumed, 100, 8, between_failures=3600 * between, draw=draw) for draw in range(DRAWS)]
    longer = mean(run.seconds for run in runs) - undisturbed
    lost = mean(run.lost for run in runs) * 8 / 3600
    return mean(run.failures for run in runs), lost, longer / 3600, longer / undisturbed


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ranged(low: float, high: float) -> str:
    """Two digits of each end, the smaller first; one number where they are the same. Below a hundredth nothing is told apart."""
    ends = [f"{float(f'{value:.2g}'):,g}" if value >= 0.01 else "0" for value in sorted((low, high))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def gpus_figure() -> Figure:
    note = "Bands: optimistic to pessimistic assumptions; nothing measured. fp32 decoding, the best of 1, 2, 4, 8 GPUs a chain."
    figure = panels(2, 1, 5.6, 4.2, "The paper's study on more GPUs (projected)", note)
    left, right = figure.subplots(1, 2)
    _bands(left, "OPT-125m by card (H200 as H100)", {card: ("OPT-125m", card) for card in ("A100 80 GB", H100)})
    _bands(right, "By model, on H100 80 GB", {model: (model, H100) for model in SIZES})
    return figure


def _bands(axes: Axes, title: str, shown: dict[str, tuple[str, str]]) -> None:
    all_ends: list[float] = []
    for (label, (model, card)), colour in zip(shown.items(), CONDITION_COLOURS, strict=False):
        found = {gpus: best_workers(model, card, gpus) for gpus in ALL_GPUS}
        ends = {gpus: studies(model, card, gpus, workers) for gpus, workers in found.items() if workers}
        low, high = zip(*ends.values(), strict=True)
        axes.fill_between(list(ends), low, high, color=colour, alpha=0.3, label=label)
        all_ends += [*low, *high]
    dress(axes, title, "GPUs", "hours")
    log_axis(axes, "x", 1, 100)
    log_axis(axes, "y", min(all_ends) / 1.5, 1.5 * max(all_ends))
    axes.legend(fontsize=FONT - 2, frameon=False)


def limits_figure() -> Figure:
    note = f"OPT-125m and OPT-6.7B on H100, optimistic phases; failures: means of {DRAWS} draws. Nothing measured."
    figure = panels(2, 1, 5.6, 4.2, "What the writer and failing machines add to a study (projected)", note)
    left, right = figure.subplots(1, 2)
    for record, colour in zip(RECORDS, CONDITION_COLOURS, strict=False):
        longer = [100 * _added(OPTIMISTIC, chains, record) for chains in CHAINS]
        left.plot(CHAINS, longer, color=colour, marker="o", markersize=4, label=f"{record:g} s a generation")
    dress(left, "One writer, chains with a GPU each", "chains side by side", "study longer by (%)")
    for model, colour in zip(("OPT-125m", "OPT-6.7B"), CONDITION_COLOURS, strict=False):
        longer = [max(0.01, 100 * _failing(model, OPTIMISTIC, hours)[3]) for hours in HOURS_BETWEEN_FAILURES]
        right.plot(HOURS_BETWEEN_FAILURES, longer, color=colour, marker="o", markersize=4, label=model)
    dress(right, "Failures, 100 GPUs, 8 a chain", "hours between a machine's failures", "study longer by (%)")
    log_axis(left, "x", 9, 1100)
    log_axis(right, "x", 0.9, 7000)
    for axes, highest in ((left, 5000), (right, 100)):
        log_axis(axes, "y", 0.01, highest)
        axes.legend(fontsize=FONT - 2, frameon=False)
    return figure


BLOCKS: dict[str, Callable[[], str]] = {
    "measured": measured,
    "tracking": tracking,
    "assumptions": assumptions,
    "phases": phases,
    "hours": hours,
    "memory": memories,
    "placement": placements,
    "decoding": decoding,
    "writer": writer,
    "failures": failures,
}

if __name__ == "__main__":
    main()
