"""The language family: OPT fine-tuned on blocks, beam search from real prompts, perplexity (paper section 5.2).

A worker of a chain's group calls these together with its peers: all train, each samples and scores its share of the
blocks, rank 0 puts the shares together and writes them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import torch
import torch.distributed as dist
from torch import nn
from transformers import AutoTokenizer, OPTForCausalLM

from components import corpus
from components.families.device import device
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.beam_search import generate_blocks
from components.families.language.decoding import Decoding, guard_decoding
from components.families.language.deepspeed_engine import DeepSpeedEngine
from components.families.language.perplexity import perplexity, sequence_losses, sequence_perplexity, token_losses
from components.families.language.training import Batches, Engine, Recipe, TorchEngine, blocks_at_once, fine_tune
from components.measures.diversity import (
    compression_ratio,
    distinct_n,
    distinct_n_per_sequence,
    ngram_entropy,
    repetition_4,
    share_found,
    vocabulary_coverage,
)
from components.measures.tails import kl_to_real, rare_token_mass, zipf_exponent
from components.recursion.family import GuardFailure, Pool, Progress, Step
from components.recursion.peers import Peers
from components.recursion.rows import compose_rows, gather_rows
from components.regimes import Regime
from components.store import MANIFEST, read_manifest

FORMATS = {"fit": 1, "sample": 1, "measure": 2}
"""To be raised with any change of the code that changes what a phase leaves: what an older version left is not taken then."""

GUARDED_PROMPTS = 2
LEAST_WAY = 1e-8
"""One step of AdamW at the paper's learning rate moves the weights by about a thousandth of their length."""


@dataclass(frozen=True)
class LanguageFamily:
    """Everything that the chains of one condition share; small, so that Ray can carry it to workers.

    `engine` and `zero_stage` say how the recipe is carried out. `zero_stage` changes rounding only, and so is no part of a
    result's identity; nor is the size of a micro-batch, but where there is dropout, whose masks go by it. (The engine is a
    part: it is what `train.engine` compares.)
    """

    corpus_folder: Path
    size: architecture.ModelSize
    pretrained: tuple[str, Path] | None
    recipe: Recipe
    decoding: Decoding
    engine: str
    zero_stage: int

    name = "language"
    in_memory = False
    shown = ()

    @cached_property
    def corpus(self) -> corpus.Corpus:
        return corpus.load(self.corpus_folder)

    @property
    def data_folder(self) -> Path:
        return self.corpus_folder

    @property
    def settings(self) -> Mapping[str, Any]:
        recipe, decoding = vars(self.recipe).copy(), vars(self.decoding).copy()
        del decoding["batch_size"]
        if not self.size.dropout:
            del recipe["micro_batch_size"]
        of_phase = {
            "fit": {**recipe, "engine": self.engine, "size": vars(self.size)},
            "sample": decoding,
            "measure": {},
        }
        return {kind: {**settings, "format": FORMATS[kind]} for kind, settings in of_phase.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "corpus"}  # each worker reads its own

    def real(self) -> np.ndarray:
        """The real training blocks; (blocks, tokens)."""
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
        return compose_rows(regime, len(self.real()), pool, out, step)

    def fit(self, composed: Path, pool: Pool[Path], start: Path | None, out: Path, step: Step) -> dict[str, float]:
        """Fine-tune from the model in `start` (or from random weights); writes `model/`, `losses.parquet`, `validation.parquet`.

        Raises:
            GuardFailure: the weights did not move, a step was skipped, or a loss is not finite.
        """
        training = gather_rows(composed, self.real(), pool, self.samples)
        seed = int(step.random.generate_state(1)[0])
        model = opt.load(start / "model", dropout=self.size.dropout) if start else architecture.create(self.size, seed)
        return train_model(
            model, training, self, self.recipe, seed, out, step.peers, step.progress, _validation_loss_of(start)
        )

    def sample(self, fitted: Path, out: Path, step: Step) -> dict[str, float]:
        """Continue every real training block by one block; writes `synthetic.parquet`. Beam search draws nothing at random.

        Raises:
            GuardFailure: a block of another length, a separator in it, a missing block, or blocks that the decoder
                asked for would not have written.
        """
        prompts, peers = self.corpus.train, step.peers
        share = peers.share(len(prompts))
        dtype = torch.bfloat16 if self.decoding.precision == "bf16" else torch.float32
        model = opt.load(fitted / "model").to(device(), dtype).eval()
        tokens, scores = generate_blocks(
            model,
            prompts[share],
            new_tokens=prompts.shape[1],
            num_beams=self.decoding.num_beams,
            repetition_penalty=self.decoding.repetition_penalty,
            batch_size=self.decoding.batch_size,
            progress=step.progress,
        )
        guard_decoding(model, prompts[share][:GUARDED_PROMPTS], tokens[:GUARDED_PROMPTS], self.decoding)
        parts = gathered({"tokens": tokens, "score": scores}, peers)
        if parts is None:
            return {}
        tokens, scores = parts["tokens"], parts["score"]
        self._guard_blocks(tokens)
        tokenizer = AutoTokenizer.from_pretrained(self.corpus.tokenizer_folder, trust_remote_code=False)
        table = pa.table(
            {
                "prompt_row": pa.array(np.arange(len(tokens), dtype=np.int32)),
                "tokens": pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), tokens.shape[1]),
                "score": pa.array(scores.astype(np.float32)),
                "text": pa.array(tokenizer.batch_decode(tokens)),
            }
        )
        parquet.write_table(table, out / "synthetic.parquet")
        return {"synthetic/rows": len(tokens), "tokens/sample": tokens.size}

    def samples(self, sampled: Path) -> np.ndarray:
        """The blocks that `sample` wrote; int64 (prompts, tokens)."""
        tokens = parquet.read_table(sampled / "synthetic.parquet", columns=["tokens"])["tokens"].combine_chunks()
        return tokens.flatten().to_numpy().reshape(len(tokens), -1)

    def measure(self, fitted: Path, sampled: Path, generation0: Path, out: Path, step: Step) -> dict[str, float]:
        """Perplexity of the real test split under this model, and of its samples under generation 0 (figures 10 and 11).

        Raises:
            GuardFailure: generation 0 is no better than the weights it started from.
        """
        if fitted == generation0:
            _guard_generation0(fitted)
        sets = {"test": (fitted, self.corpus.test), "synthetic": (generation0, self.samples(sampled))}
        if fitted == generation0:
            sets["real"] = (generation0, self.corpus.train)
        peers = step.peers
        total, seen = sum(len(blocks[peers.share(len(blocks))]) for _, blocks in sets.values()), 0
        losses: dict[str, np.ndarray] = {}
        for name, (folder, blocks) in sets.items():
            part = blocks[peers.share(len(blocks))]
            losses[name] = _losses_under(folder / "model", part, _further(step.progress, seen, total))
            seen += len(part)
        parts = gathered(losses, peers)
        if parts is None:
            return {}
        scores = pd.concat(_scores(name, parts[name]) for name in sets)
        scores.to_parquet(out / "scores.parquet", index=False)
        texts = pd.read_parquet(sampled / "synthetic.parquet", columns=["text"])["text"].tolist()
        return self._metrics(parts["test"], scores, sets["synthetic"][1], texts)

    def _metrics(
        self, test: np.ndarray, scores: pd.DataFrame, synthetic: np.ndarray, texts: list[str]
    ) -> dict[str, float]:
        under_generation0 = scores.loc[scores["set"] == "synthetic", "perplexity"]
        mean, deviation = sequence_perplexity(test)
        real, zipf = self.corpus.train, zipf_exponent(synthetic)
        found = {
            "test/perplexity": perplexity(test, self.corpus.test),
            "test/perplexity_without_separator": perplexity(test, self.corpus.test, self.corpus.separator),
            "test/sequence_perplexity_mean": mean,
            "test/sequence_perplexity_std": deviation,
            "synthetic/perplexity_under_generation0_mean": float(under_generation0.mean()),
            "synthetic/perplexity_under_generation0_median": float(under_generation0.median()),
            "synthetic/perplexity_under_generation0_p99": float(under_generation0.quantile(0.99)),
            **{f"synthetic/distinct_{n}": distinct_n(synthetic, n) for n in (1, 2, 3)},
            **{f"synthetic/distinct_{n}_per_sequence": distinct_n_per_sequence(synthetic, n) for n in (1, 2, 3)},
            "synthetic/repetition_4": repetition_4(synthetic),
            "synthetic/compression_ratio": compression_ratio(texts),
            **{f"synthetic/entropy_{n}": ngram_entropy(synthetic, n) for n in (1, 2)},
            "synthetic/vocabulary_coverage": vocabulary_coverage(synthetic, real),
            "synthetic/rare_token_mass": rare_token_mass(synthetic, real),
            **{f"synthetic/kl_real_{n}": kl_to_real(synthetic, real, n) for n in (1, 2)},
            "synthetic/zipf_exponent": zipf.exponent,
            "synthetic/zipf_exponent_low": zipf.low,
            "synthetic/zipf_exponent_high": zipf.high,
            "synthetic/found_in_real_8": share_found(synthetic, real, 8),
        }
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def _guard_blocks(self, tokens: np.ndarray) -> None:
        if tokens.shape != self.corpus.train.shape:
            raise GuardFailure(f"the synthetic set is {tokens.shape}, not {self.corpus.train.shape} as the real one")
        if (tokens == self.corpus.separator).any():
            raise GuardFailure("a synthetic block holds a separator, which a fixed length bans")
        if tokens.min() < 0 or tokens.max() >= self.corpus.vocabulary_size:
            raise GuardFailure("a synthetic block holds a token that the tokenizer does not know")


def train_model(
    model: OPTForCausalLM,
    training: np.ndarray,
    family: LanguageFamily,
    recipe: Recipe,
    seed: int,
    out: Path,
    peers: Peers,
    progress: Progress,
    start_loss: float | None = None,
) -> dict[str, float]:
    """Train `model` on `training` by a recipe and write it with its history to `out`; every rank calls it.

    Raises:
        GuardFailure: the weights did not move, a step was skipped, or a loss is not finite.
    """
    if recipe.micro_batch_size is None:
        recipe = replace(recipe, micro_batch_size=peers.least(blocks_at_once(model, training.shape[1], device())))
    batches = Batches.cut(recipe, len(training), peers.size)
    engine: Engine
    if family.engine == "deepspeed":
        stage = family.zero_stage if peers.size > 1 else 0  # one worker has nothing to partition
        engine = DeepSpeedEngine(model, recipe, batches, stage, device())
    else:
        engine = TorchEngine(model, recipe, batches, device())
    try:
        weights, history = fine_tune(
            engine,
            training,
            lambda module: _validation_loss(module, family.corpus.validation, peers),
            recipe,
            seed,
            peers.rank,
            peers.size,
            progress,
            start_loss,
        )
    except ArithmeticError as error:
        raise GuardFailure(str(error)) from error
    finally:
        engine.close()
    if not peers.leads:
        return {}
    if not history.moved > LEAST_WAY:
        raise GuardFailure(f"the weights did not move in {len(history.losses)} steps (by {history.moved:.1e})")
    fresh = OPTForCausalLM(model.config)
    fresh.load_state_dict(weights)
    opt.save(fresh, out / "model", family.corpus.tokenizer_folder)
    pd.DataFrame(history.losses, columns=["step", "epoch", "loss", "learning_rate"]).to_parquet(out / "losses.parquet")
    pd.DataFrame(history.validation, columns=["epoch", "loss"]).to_parquet(out / "validation.parquet")
    return {
        "validation/perplexity": math.exp(dict(history.validation)[history.kept_epoch]),
        "train/kept_epoch": history.kept_epoch,
        "train/weights_moved": history.moved,
        "tokens/fit": recipe.epochs * training.size,
    }


def _validation_loss_of(fitted: Path | None) -> float | None:
    """What a model that this project trained gave on the study's validation split; not known of others."""
    if fitted is None or not (fitted / MANIFEST).exists():
        return None
    validated = read_manifest(fitted)["metrics"].get("validation/perplexity")
    return math.log(validated) if validated else None


def _validation_loss(module: nn.Module, blocks: np.ndarray, peers: Peers) -> float:
    """Mean nats a token, over all ranks; every rank scores equally many blocks, since under ZeRO-3 a forward is collective."""
    share = math.ceil(len(blocks) / peers.size)
    rows = np.arange(peers.rank * share, (peers.rank + 1) * share)
    losses = token_losses(module, blocks[np.minimum(rows, len(blocks) - 1)])[rows < len(blocks)]
    summed = torch.tensor([losses.sum(dtype=np.float64), losses.size], dtype=torch.float64)
    if peers.size > 1:
        dist.all_reduce(summed)
    return float(summed[0] / summed[1])


def gathered(part: Mapping[str, np.ndarray], peers: Peers) -> dict[str, np.ndarray] | None:
    """Every rank's rows, in order of rank, on rank 0. Not through files: the workers need not share a file system."""
    parts = peers.gather(dict(part))
    if parts is None:
        return None
    return {key: np.concatenate([one[key] for one in parts]) for key in part}


def _losses_under(folder: Path, blocks: np.ndarray, progress: Progress) -> np.ndarray:
    """Token losses under a saved model, which is gone from memory before the next one is loaded."""
    return token_losses(opt.load(folder).to(device()).eval(), blocks, progress=progress)


def _scores(name: str, losses: np.ndarray) -> pd.DataFrame:
    mean = sequence_losses(losses)
    return pd.DataFrame(
        {"set": name, "row": np.arange(len(mean), dtype=np.int32), "loss": mean, "perplexity": np.exp(mean)}
    )


def _guard_generation0(fitted: Path) -> None:
    losses = pd.read_parquet(fitted / "validation.parquet")["loss"]
    if not losses[1:].min() < losses[0]:
        raise GuardFailure(
            f"generation 0 is no better than its start: validation loss {losses[0]:.4f}, then {losses[1:].min():.4f}"
        )


def _further(progress: Progress, before: int, total: int) -> Progress:
    """Progress of one of several parts, told as progress of the whole."""
    return lambda done, _: progress(before + done, total)
