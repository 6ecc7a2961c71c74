"""The language family: OPT fine-tuned on blocks, which then continues real prompts; perplexity (paper section 5.2).

A worker of a chain's group calls these together with its peers: all train, each samples and scores its share of the
blocks, rank 0 puts the shares together and writes them.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
from transformers import AutoTokenizer, OPTForCausalLM

from components import corpus
from components.families.device import device
from components.families.language import architecture, kernels
from components.families.language import model as opt
from components.families.language.decoder import prompts_at_once
from components.families.language.decoding import Decoding, write_blocks
from components.families.language.embedding import Embedder, embed
from components.families.language.fitting import MICRO_BATCH_SIZE, train_model, validation_loss_of
from components.families.language.measuring import (
    HELDOUT,
    SYNTHETIC,
    TRAINING,
    decoded,
    evenly,
    measured_sets,
    of_blocks,
    of_scores,
    of_states,
    of_test,
    scores_table,
)
from components.families.language.memory import (
    largest,
    needed_to_check,
    needed_to_score,
    needed_to_train,
    needed_to_write,
)
from components.families.language.perplexity import Predictions, sequence_losses, token_losses, token_predictions
from components.families.language.selection import Selection, kept_as_new, kept_by_surprise
from components.families.language.training import Recipe
from components.families.memory import Need
from components.families.precision import check_worker
from components.recursion.family import CHOSEN, Diverged, GuardFailure, Origin, Pool, Progress, Step
from components.recursion.peers import Peers
from components.recursion.rows import compose_rows, gather_rows
from components.regimes import Regime, equally_often

PROMPTS = "prompts_at_once"
"""What writing chooses by its machine where the settings do not say it."""
FORMATS = {"fit": 1, "sample": 1, "measure": 6}
"""To be raised with any change of the code that changes what a phase leaves: what an older version left is not taken then."""
TOO_FEW = (
    "text is measured over %d blocks without separators, and the synthetic set of %d has fewer: it has no "
    "measures of text; to have them, give a smaller measure.blocks"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LanguageFamily:
    """Everything that a chain does, apart from its regime; small, so that Ray can carry it to workers.

    `engine` and `zero_stage` say how the recipe is carried out. `zero_stage` and the size of a micro-batch change rounding
    only, and so are no part of a result's identity. (The engine is a part: it is what `train.engine` compares.)
    `arithmetic` is what the study's workers multiply bf16 with (`environment.Machine.bf16`). It is a part where bf16 is
    used, and a worker that multiplies otherwise refuses. `sample_size` and `growth`: generation i, but for the first, is
    trained on sample_size (i + 1)^growth blocks; on as many as there are real ones if not given.

    `measure_blocks` is the setting `measure.blocks`: text is measured over at most so many blocks.
    `configuration` is config.json of the named model whose architecture a fit from random weights builds; an OPT of
    `size` if None. `seed`: whose blocks of the pool are the real training blocks.
    """

    corpus_folder: Path
    size: architecture.ModelSize
    pretrained: tuple[str, Path] | None
    recipe: Recipe
    decoding: Decoding
    engine: str
    zero_stage: int
    selection: Selection = field(default_factory=Selection)
    sample_size: int | None = None
    growth: float = 0.0
    embedder: Embedder | None = None
    measure_blocks: int = 256
    seed: int = 0
    configuration: Mapping[str, Any] | None = field(default=None, hash=False)
    arithmetic: str = field(default_factory=lambda: kernels.worker().bf16)

    name = "language"
    in_memory = False
    shown = ()

    @cached_property
    def corpus(self) -> corpus.Corpus:
        return corpus.load(self.corpus_folder, self.seed)

    @property
    def data_folder(self) -> Path:
        return self.corpus_folder

    @property
    def settings(self) -> Mapping[str, Any]:
        recipe = {name: value for name, value in vars(self.recipe).items() if name != "micro_batch_size"}
        sized = {"sample_size": self.sample_size, "growth": self.growth} if self.sample_size or self.growth else {}
        chosen = {"selection": selection} if (selection := self.selection.settings) else {}
        embedded = {"mauve": self.embedder.digest} if self.embedder else {}
        reserve = {"reserve": self.corpus.digests["reserve"]} if len(self.corpus.reserve) else {}
        scratch = self.configuration is not None and self.pretrained is None
        built = {"configuration": dict(self.configuration or {})} if scratch else {}
        of_phase = {
            "fit": {
                **recipe,
                **self._arithmetic(self.recipe.precision),
                "engine": self.engine,
                "size": self.size.settings,
                **built,
            },
            "sample": {**self.decoding.settings, **self._arithmetic(self.decoding.precision), **chosen, **sized},
            "measure": {"blocks": self.measured, "heldout": self.corpus.digests["heldout"], **embedded},
        }
        found: dict[str, Any] = {kind: {**settings, "format": FORMATS[kind]} for kind, settings in of_phase.items()}
        return found | ({"compose": {**sized, **reserve}} if sized or reserve else {})

    def _arithmetic(self, precision: str) -> dict[str, str]:
        return {"arithmetic": self.arithmetic} if precision == "bf16" else {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "corpus"}  # each worker reads its own

    def rows(self, generation: int) -> int:
        """How many blocks a generation is trained on (but where it accumulates all there are)."""
        if not generation:
            return len(self.real())
        return round((self.sample_size or len(self.real())) * (generation + 1) ** self.growth)

    @property
    def measured(self) -> int:
        """N: text is measured over so many blocks, of the samples and of held-out text alike, in every generation."""
        return min(self.measure_blocks, len(self.corpus.heldout), len(self.real()))

    def fewest_samples(self, generations: int) -> int:
        """The fewest blocks that a generation passes on, as far as that is known before duplicates are dropped."""
        selection = self.selection
        written = [self.rows(index + 1) for index in range(generations + 1)]
        shares = (selection.drop_least_surprising, selection.drop_most_surprising)
        return min(rows - sum(round(share * rows) for share in shares) for rows in written)

    @property
    def how(self) -> str:
        """In words, how what it passes on comes about."""
        size = [f"{self.sample_size} blocks"] if self.sample_size else []
        size += [f"growing with {self.growth:g}"] if self.growth else []
        return ", ".join([self.decoding.how, *self.selection.how, *size])

    @property
    def judged(self) -> int:
        """How often every block is read by a model before it is passed on."""
        best_of, edits = self.selection.best_of, self.decoding.edit is not None
        return (best_of if best_of > 1 else 0) + self.selection.by_surprise + edits

    def embedding_flops(self, generation: int) -> float:
        """What embedding texts for MAUVE costs: 2 for every parameter and token of samples and held-out text.

        With generation 0 comes real training text, which is embedded once.
        """
        if self.embedder is None:
            return 0.0
        sets = 2 if generation else 3
        return 2.0 * self.embedder.parameters * sets * self.measured * self.real().shape[1]

    def needed(self, workers: int, device: str) -> Need:
        """What each of a chain's workers holds at its fullest moment, with the smallest batches; `device`: `cpu` or `cuda`."""
        size, length = self.size, self.real().shape[1]
        parameters = architecture.parameter_count(size, self.configuration)
        stage = self.zero_stage if self.engine == "deepspeed" and workers > 1 else 0
        width = max(1, self.decoding.sequences(self.selection.best_of))
        return largest(
            needed_to_train(size, parameters, stage, workers, length, self.recipe.precision, device),
            needed_to_write(size, parameters, self.decoding.precision, length, length, width, device),
            needed_to_check(parameters, self.decoding.precision, device),
            needed_to_score(size, parameters, self.embedder.parameters if self.embedder else 0, device),
        )

    def _prompts_at_once(self, workers: int) -> int:
        where, length = device(), self.real().shape[1]
        need = self.needed(workers, where.type)
        dtype = torch.bfloat16 if self.decoding.precision == "bf16" else torch.float32
        width = self.decoding.sequences(self.selection.best_of)
        needed = need.gpu_memory if where.type == "cuda" else need.memory
        return prompts_at_once(self.size, dtype, where, length, length, width, needed)

    def real(self) -> np.ndarray:
        """The real training blocks of the chain's seed; (blocks, tokens)."""
        return self.corpus.train

    def digests(self) -> Mapping[str, str]:
        digests = self.corpus.digests
        return {
            "training": digests["train"],
            "evaluation": digests["test"],
            "validation": digests["validation"],
            "tokenizer": digests["tokenizer"],
        }

    def base(self) -> tuple[str, Path] | None:
        return self.pretrained

    def compose(self, regime: Regime, pool: Pool[Path], out: Path, step: Step) -> dict[str, float]:
        """Draw the blocks that the generation is trained on; writes `composition.parquet`."""
        rows, reserve = self.rows(step.generation), len(self.corpus.reserve)
        return compose_rows(regime, len(self.real()), pool, out, step, rows, reserve)

    def fit(self, composed: Path, pool: Pool[Path], start: Path | None, out: Path, step: Step) -> dict[str, float]:
        """Fine-tune from the model in `start` (or from random weights); writes `model/`, `losses.parquet`, `validation.parquet`.

        Raises:
            Diverged: a loss is not finite.
            GuardFailure: the weights did not move, or a step was skipped.
        """
        training = self._training(composed, pool)
        recipe = self.recipe
        if recipe.micro_batch_size is None:
            recipe = replace(recipe, micro_batch_size=step.chosen.get(MICRO_BATCH_SIZE))
        seed = int(step.random.generate_state(1)[0])
        model = (
            opt.load(start / "model", dropout=self.size.dropout)
            if start
            else architecture.create(self.size, seed, self.configuration)
        )
        start_loss = validation_loss_of(start)
        return self.train(model, training, recipe, seed, out, step.peers, step.progress, start_loss)

    def train(
        self,
        model: OPTForCausalLM,
        training: np.ndarray,
        recipe: Recipe,
        seed: int,
        out: Path,
        peers: Peers,
        progress: Progress,
        start_loss: float | None = None,
    ) -> dict[str, float]:
        """Train any model by any recipe on the engine of this family; every rank calls it, and `fit` and the base model do.

        Raises:
            GuardFailure: as `fit`; or this worker multiplies bf16 otherwise than the study's identity says.
        """
        check_worker(recipe.precision, self.arithmetic, kernels.worker())
        return train_model(
            model, training, self.corpus, recipe, self.engine, self.zero_stage, seed, out, peers, progress, start_loss
        )

    def _training(self, composed: Path, pool: Pool[Path]) -> np.ndarray:
        return gather_rows(composed, self.real(), pool, self.samples, self.corpus.reserve)

    def sample(self, fitted: Path, origin: Origin[Path], out: Path, step: Step) -> dict[str, float]:
        """Continue real training blocks by one block each, or edit the model's own; writes `synthetic.parquet`, a row for
        each block that is passed on. Beam search draws nothing at random.

        Raises:
            GuardFailure: a block of another length, a separator in it, a missing block, or blocks that the decoder
                asked for would not have written.
        """
        check_worker(self.decoding.precision, self.arithmetic, kernels.worker())
        peers, random = step.peers, np.random.default_rng(step.random)
        edits = self.decoding.edit is not None
        before = self._training(origin.composed, origin.pool) if edits else self.real()
        rows = np.arange(len(before)) if edits else chosen_prompts(len(before), self.rows(step.generation + 1), random)
        share = peers.share(len(rows))
        numbers = random.random((len(rows), self.selection.best_of, before.shape[1]), np.float32)[share]
        prompts = before[rows[share]]
        chosen: dict[str, float] = {}
        decoding = self.decoding
        if decoding.batch_size is None and not edits:
            at_once = step.chosen.get(PROMPTS) or peers.least(self._prompts_at_once(peers.size))
            decoding, chosen = replace(decoding, batch_size=at_once), {f"{CHOSEN}{PROMPTS}": at_once}
        tokens, scores = write_blocks(
            fitted / "model", prompts, numbers, decoding, self.corpus.vocabulary_size, step.progress
        )
        written = {"tokens": tokens[:, 0], "score": scores[:, 0]}
        if self.selection.best_of > 1:
            written = _likeliest(tokens, scores, origin.generation0)
        if self.selection.by_surprise:
            judge = fitted if self.selection.judge == "own" else origin.generation0
            written["surprise"] = sequence_losses(token_losses(_model(judge), written["tokens"]))
        parts = gathered(written, peers)
        if parts is None:
            return {}
        self._guard_blocks(parts["tokens"], len(rows))
        kept = self._passed_on(parts)
        passed = {name: part[kept] for name, part in parts.items()}
        tokenizer = AutoTokenizer.from_pretrained(self.corpus.tokenizer_folder, trust_remote_code=False)
        table = pa.table(
            {
                "prompt_row": pa.array(rows[kept].astype(np.int32)),
                "tokens": pa.FixedSizeListArray.from_arrays(pa.array(passed["tokens"].reshape(-1)), before.shape[1]),
                "score": pa.array(passed["score"].astype(np.float32)),
                "text": pa.array(tokenizer.batch_decode(passed["tokens"])),
            }
        )
        parquet.write_table(table, out / "synthetic.parquet")
        found = {
            "synthetic/rows": int(kept.sum()),
            "tokens/sample": len(rows) * self.selection.best_of * before.shape[1],
            **chosen,
        }
        if edits:
            found["synthetic/edited"] = float((parts["tokens"] != before).mean())
        return found | ({} if kept.all() else {"synthetic/dropped": 1 - kept.mean()})

    def _passed_on(self, written: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which blocks the filters let through, bool (n,)."""
        selection, kept = self.selection, np.ones(len(written["tokens"]), bool)
        if selection.by_surprise:
            kept = kept_by_surprise(
                written["surprise"], selection.drop_least_surprising, selection.drop_most_surprising
            )
        if selection.drop_duplicates is not None:
            kept[kept] = kept_as_new(written["tokens"][kept], selection.drop_duplicates)
        return kept

    def samples(self, sampled: Path) -> np.ndarray:
        """The blocks that `sample` wrote; int64 (prompts, tokens)."""
        tokens = parquet.read_table(sampled / "synthetic.parquet", columns=["tokens"])["tokens"].combine_chunks()
        return tokens.flatten().to_numpy().reshape(len(tokens), -1)

    def measure(self, fitted: Path, sampled: Path, origin: Origin[Path], out: Path, step: Step) -> dict[str, float]:
        """How this model foresees the real test split, and generation 0 its samples (figures 10 and 11); what the samples are.

        The samples' text is measured over `measured` of their blocks, and held-out text over as
        many as `heldout/...`.

        Raises:
            Diverged: generation 0 is no better than the weights it started from.
            GuardFailure: the model foresees the test split with a loss that is not a number.
        """
        first = fitted == origin.generation0
        if first:
            _guard_generation0(fitted)
        peers, corpus, samples = step.peers, self.corpus, self.samples(sampled)
        sets = measured_sets(samples, corpus, self.measured)
        if SYNTHETIC not in sets and peers.leads:
            logger.warning(TOO_FEW, self.measured, len(samples))
        texts = {name: decoded(blocks, corpus) for name, blocks in sets.items()}
        embedded = self._embedded(texts, first, peers) if self.embedder else {}
        shares = {"test": corpus.test, SYNTHETIC: samples}
        shares = {name: blocks[peers.share(len(blocks))] for name, blocks in shares.items()}
        found: dict[str, np.ndarray] = {}
        total, seen = sum(map(len, shares.values())) + sum(map(len, embedded.values())), 0
        for name, blocks in shares.items():
            tell = _further(step.progress, seen, total)
            if name == "test":
                found |= vars(token_predictions(_model(fitted), blocks, progress=tell))
            else:
                found[name] = token_losses(_model(origin.generation0), blocks, progress=tell)
            seen += len(blocks)
        for name, written in embedded.items():
            assert self.embedder is not None
            found[name] = embed(self.embedder.name, written, _further(step.progress, seen, total))
            seen += len(written)
        parts = gathered(found, peers)
        if parts is None:
            return {}
        states = {name: parts.pop(name) for name in embedded}
        test = Predictions(**{each.name: parts.pop(each.name) for each in fields(Predictions)})
        scored = {"test": (test.losses, corpus.test), SYNTHETIC: (parts[SYNTHETIC], samples)}
        scores = pd.concat(scores_table(name, *of_set, corpus.separator) for name, of_set in scored.items())
        scores.to_parquet(out / "scores.parquet", index=False)
        training = self._training(origin.composed, origin.pool)
        measured = {
            **of_test(test, corpus.test, corpus.separator),
            **of_scores(SYNTHETIC, scores[scores["set"] == SYNTHETIC]),
            **(of_scores(HELDOUT, scores[scores["set"] == "test"]) if first else {}),
            **of_states(states),
            "measure/blocks": self.measured,
        }
        for name, blocks in sets.items():
            measured |= of_blocks(name, blocks, texts[name], self.real(), training, corpus.separator)
        return {name: value for name, value in measured.items() if not math.isnan(value)}

    def _embedded(self, texts: Mapping[str, list[str]], first: bool, peers: Peers) -> dict[str, list[str]]:
        """This worker's share of the texts for MAUVE; with generation 0 as many of real training text."""
        training = {TRAINING: decoded(evenly(self.real(), self.measured), self.corpus)} if first else {}
        return {f"states/{name}": part[peers.share(len(part))] for name, part in {**texts, **training}.items()}

    def _guard_blocks(self, tokens: np.ndarray, rows: int) -> None:
        wanted = (rows, self.real().shape[1])
        if tokens.shape != wanted:
            raise GuardFailure(f"the synthetic set is {tokens.shape}, not {wanted} as asked for")
        if self.decoding.edit is None and (tokens == self.corpus.separator).any():
            raise GuardFailure("a synthetic block holds a separator, which a fixed length bans")
        if tokens.min() < 0 or tokens.max() >= self.corpus.vocabulary_size:
            raise GuardFailure("a synthetic block holds a token that the tokenizer does not know")


def chosen_prompts(there: int, wanted: int, random: np.random.Generator) -> np.ndarray:
    """Which of the real training blocks are continued, int64 (wanted,), in order: each as often as any other, or once more."""
    return np.arange(there) if wanted == there else equally_often(there, wanted, random)


def _likeliest(tokens: np.ndarray, scores: np.ndarray, generation0: Path) -> dict[str, np.ndarray]:
    """Of the candidates (n, candidates, length) for each prompt the one that generation 0 is least surprised by."""
    count, candidates, length = tokens.shape
    losses = token_losses(_model(generation0), tokens.reshape(-1, length))
    best = sequence_losses(losses).reshape(count, candidates).argmin(1)
    first = np.arange(count)
    return {"tokens": tokens[first, best], "score": scores[first, best]}


def gathered(part: Mapping[str, np.ndarray], peers: Peers) -> dict[str, np.ndarray] | None:
    """Every rank's rows, in order of rank, on rank 0. Not through files: the workers need not share a file system."""
    parts = peers.gather(dict(part))
    if parts is None:
        return None
    return {key: np.concatenate([one[key] for one in parts]) for key in part}


def _model(fitted: Path) -> OPTForCausalLM:
    """A fit's model, to be asked; who holds it no longer than one set of blocks has one in memory at a time."""
    return opt.load(fitted / "model").to(device()).eval()


def _guard_generation0(fitted: Path) -> None:
    losses = pd.read_parquet(fitted / "validation.parquet")["loss"]
    if not losses[1:].min() < losses[0]:
        raise Diverged(
            f"generation 0 is no better than its start: validation loss {losses[0]:.4f}, then {losses[1:].min():.4f}"
        )


def _further(progress: Progress, before: int, total: int) -> Progress:
    """Progress of one of several parts, told as progress of the whole."""
    return lambda done, _: progress(before + done, total)
