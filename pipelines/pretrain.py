"""`mlflow run . -e pretrain`: a base model out of the documentation inside the pinned packages.

    settings -> text -> tokenizer and blocks -> parts of the training -> perplexities -> a folder with model and card

The folder is a model by name for every study: `-P model.name=<folder> -P tokenizer=None`.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from components import cluster, tracking
from components.config import pretrain as config
from components.config import to_yaml
from components.config.errors import BadInput
from components.config.pretrain import PretrainSettings
from components.corpus import documentation, pretraining
from components.families.device import device
from components.families.language import architecture, kernels
from components.families.language import model as opt
from components.families.language.cost import measure_rates
from components.families.language.perplexity import perplexity, token_losses
from components.families.language.pretraining import KIND, Pretraining, Schedule
from components.families.precision import agreed
from components.figures import loss as figure
from components.figures.files import write_figures
from components.recursion.phase import phase
from components.report.machine import machine
from components.report.model_card import Card
from components.store import Phase, Store, identity, read_manifest
from components.terminal import StudyProgress, duration, say
from pipelines.study import PROJECT, closing, run_command

BLOCKS_PER_WORKER = 8
"""A worker with fewer in a step spends more on being in step with the others than it helps."""
CURVE_POINTS = 200
"""What MLflow gets of the loss curve; `losses.parquet` has all of it."""


def pretrain(arguments: Sequence[str]) -> None:
    """Train the model that the arguments describe, or what is left of it, and write it out.

    Raises:
        BadInput: something about the settings cannot work; nothing was started.
        cluster.Failed: the training did not come to its end.
    """
    settings = config.load(arguments)
    output = Path(settings.output)
    if output.exists() and not (output.is_dir() and (not any(output.iterdir()) or (output / "config.json").is_file())):
        raise BadInput("output", settings.output, "holds other files than a model's; give a new folder")
    store = Store.open(settings.store.path, settings.store.cache)
    capacity, machines = cluster.check(settings.cluster, settings.workers or 1, store, kernels.worker, gpu=True)
    given = settings.model_dump(mode="json", exclude={"output"})
    computing = agreed(store, given, {"precision": settings.precision}, machines, keep=not settings.dry_run)
    tracker = tracking.connect(settings.tracking, "pretrain", PROJECT)
    prepared = _prepare(settings, store)
    size = architecture.ModelSize(
        settings.vocabulary_size, settings.hidden_size, settings.layers, settings.heads, settings.ffn_size,
        settings.positions, settings.dropout,
    )  # fmt: skip
    schedule = Schedule(
        settings.epochs, settings.learning_rate, settings.weight_decay, settings.batch_size, settings.warm_up
    )
    work = Pretraining(
        size, schedule, computing.precision(settings.precision), computing.arithmetic, settings.parts, settings.seed,
        prepared.place, store,
    )  # fmt: skip
    workers = _workers(settings, work, capacity)
    seconds = _print_plan(settings, work, workers)
    if settings.dry_run:
        return
    study = tracking.open_study(
        tracker,
        name=f"{settings.preset}, {architecture.parameter_count(size) / 1e6:.1f} million parameters",
        family="language",
        identity=identity(KIND, work.inputs(settings.parts - 1)),
        config=to_yaml(settings),
        settings=settings.model_dump(mode="json"),
        kind="pretraining",
    )
    with closing(study):
        _train(settings, work, workers, capacity, seconds)
        _close(settings, work, prepared, study, output)


def _prepare(settings: PretrainSettings, store: Store) -> Phase:
    inputs = {
        "format": pretraining.FORMAT,
        "text": pretraining.source_digest(),
        "vocabulary_size": settings.vocabulary_size,
        "block_size": settings.block_size,
        "blocks": settings.blocks,
    }
    say("Reading the documentation of the installed packages (two minutes, once)")
    prepared = phase(
        store,
        "pretraining-text",
        inputs,
        lambda out, _: pretraining.prepare(settings.vocabulary_size, settings.block_size, settings.blocks, out),
    )
    store.bring(prepared.place)
    return prepared


def _workers(settings: PretrainSettings, work: Pretraining, capacity: cluster.Capacity) -> int:
    """As asked for, or as many as help and fit.

    Raises:
        BadInput: not even one fits into the memory there is.
    """
    on = "cuda" if capacity.gpus else "cpu"
    most = settings.workers or max(1, settings.batch_size // BLOCKS_PER_WORKER)
    fitting = [count for count in range(1, most + 1) if count <= capacity.workers(work.needed(count, on))]
    if settings.workers or not fitting:
        capacity.groups(settings.workers or 1, 1, work.needed(settings.workers or 1, on))
    return settings.workers or max(fitting)


def _print_plan(settings: PretrainSettings, work: Pretraining, workers: int) -> float:
    """Say what will be trained and what it costs; the seconds that are expected for all of it."""
    blocks = len(pretraining.load(work.data).train)
    tokens = settings.epochs * blocks * settings.block_size
    flops = 3 * architecture.flops_per_token(work.size) * tokens
    batch = -(-settings.batch_size // workers)
    rates = measure_rates(work.size, settings.block_size, 1, batch, "fp32", "fp32", workers - 1)
    left = 1 - len(work.stored()) / work.parts
    seconds = tokens / rates.fit / workers
    parameters = architecture.parameter_count(work.size) / 1e6
    say(f"OPT with {parameters:.2f} million parameters, {work.precision}, {workers} workers")
    say(
        f"{blocks:,} blocks of {settings.block_size} tokens x {settings.epochs}: {tokens:,} tokens, {flops / 1e12:.0f} TFLOP"
    )
    say(f"about {duration(left * seconds)} on this machine's processors; {left:.0%} of it is left to do")
    return seconds


def _train(
    settings: PretrainSettings, work: Pretraining, workers: int, capacity: cluster.Capacity, seconds: float
) -> None:
    if len(work.stored()) == work.parts:
        return
    expected = {KIND: {(-1, KIND): seconds}}
    with (
        StudyProgress({KIND: KIND}, expected, done={KIND: seconds * len(work.stored()) / work.parts}) as progress,
        cluster.connect(settings.cluster) as connected,
    ):
        crew = cluster.Crew(
            workers=workers,
            side_by_side=1,
            gpu=connected.gpus > 0,
            storage=work.store.root / "ray",
            max_failures=settings.cluster.max_failures,
            memory=work.needed(workers, "cuda" if connected.gpus else "cpu").memory,
        )

        def watch(messages: list[Mapping[str, Any]]) -> None:
            for message in messages:
                if "done" in message:
                    progress.at(*(message[key] for key in ("work", "generation", "phase", "done", "total")))

        cluster.run_groups({KIND: work}, crew, watch)


def _close(settings: PretrainSettings, work: Pretraining, prepared: Phase, study: tracking.Study, output: Path) -> None:
    """Score the model, write its folder, and end its run with the card as description."""
    stored = work.stored()
    work.store.bring(stored[-1].place)
    blocks = pretraining.load(prepared.place)
    for one in stored:
        work.store.bring(one.place)
    losses = pd.concat([pd.read_parquet(one.place / "losses.parquet") for one in stored], ignore_index=True)
    model = opt.load(stored[-1].place / "model").to(device()).eval()
    texts = {"validation": blocks.validation, "test": blocks.test, "study": blocks.study}
    found = {name: perplexity(token_losses(model, part), part) for name, part in texts.items()}
    hours = sum(read_manifest(one.place)["seconds"] for one in stored) / 3600
    output.mkdir(parents=True, exist_ok=True)
    opt.save(model.cpu().to(torch.bfloat16), output, blocks.tokenizer_folder)
    (picture,) = [file for file in write_figures({"loss": figure.draw(losses)}, output) if file.suffix == ".png"]
    (output / "loss.html").unlink()
    losses.to_parquet(output / "losses.parquet", index=False)
    card = _card(settings, work, prepared, found, hours, losses).markdown()
    (output / "README.md").write_text(card, encoding="utf-8")
    say(f"{output}: model, tokenizer, README.md; perplexity " + ", ".join(f"{k} {v:.2f}" for k, v in found.items()))
    summary = {f"{name}/perplexity": value for name, value in found.items()}
    every = -(-len(losses) // CURVE_POINTS)
    means = losses.groupby(losses["step"] // every)["loss"].mean()
    curve = [((int(str(place)) + 1) * every, float(loss)) for place, loss in means.items()]
    tracking.close_study(
        study,
        "FINISHED",
        summary=summary,
        curves={"train/loss": curve},
        tables={"losses": losses},
        files=[output / "README.md", picture],
        description="A pretrained base model; its card is README.md.",
    )
    say(f"Browse it with `make ui`: {tracking.address(study)}")


def _card(
    settings: PretrainSettings,
    work: Pretraining,
    prepared: Phase,
    found: Mapping[str, float],
    hours: float,
    losses: pd.DataFrame,
) -> Card:
    blocks = pretraining.load(prepared.place)
    parts = pretraining.SPLITS
    return Card(
        title=f"{settings.preset}: an OPT of {architecture.parameter_count(work.size) / 1e6:.1f} million parameters",
        command="mlflow run . -e pretrain --env-manager local "
        + " ".join(f"-P {name}={value}" for name, value in _given(settings).items()),
        training={
            "architecture": f"OPT: {settings.layers} layers, hidden size {settings.hidden_size}, {settings.heads} heads, "
            f"feed-forward {settings.ffn_size}, {settings.vocabulary_size:,} entries, {settings.positions} positions",
            "tokens": f"{settings.epochs * len(blocks.train) * settings.block_size:,}",
            "steps": f"{len(losses):,} of {settings.batch_size} blocks of {settings.block_size} tokens",
            "optimizer": f"AdamW, weight decay {settings.weight_decay}, gradients clipped at {work.schedule.clip}",
            "learning rate": f"{settings.learning_rate}, warm-up over {settings.warm_up:.0%} of the steps, "
            f"cosine to {work.schedule.final:.0%}",
            "precision": f"{work.precision}; the weights here are rounded to bf16",
            "last loss": f"{losses['loss'].tail(figure.WINDOW).mean():.4f} nats per token "
            f"(mean over {figure.WINDOW} steps)",
            "machine and time": f"{machine()}; {hours:.1f} hours",
        },
        quality={
            "held-out documents of the same packages, validation": found["validation"],
            "held-out documents of the same packages, test": found["test"],
            f"documentation of {documentation.STUDY}, which it was not trained on": found["study"],
        },
        data={
            name: (
                round(prepared.metrics[f"documents/{name}"]),
                round(prepared.metrics[f"characters/{name}"]),
                round(prepared.metrics[f"blocks/{name}"]),
                blocks.digests[name],
            )
            for name in parts
        },
        packages={name: (version(name), licence) for name, licence in documentation.PRETRAINING.items()},
        tokenizer=blocks.digests["tokenizer"],
        study=documentation.STUDY,
        held_out=pretraining.HELD_OUT,
    )


def _given(settings: PretrainSettings) -> dict[str, Any]:
    """What a person would have to give to get the same model: the preset, and all that differs from it."""
    preset = config.load(["--preset", settings.preset]).model_dump()
    now = settings.model_dump(exclude={"store", "cluster", "tracking", "dry_run", "output"})
    return {"preset": settings.preset} | {name: value for name, value in now.items() if value != preset[name]}


if __name__ == "__main__":
    run_command(pretrain, sys.argv[1:])
