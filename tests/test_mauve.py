"""MAUVE: the area under the frontier, the clusters, the embeddings it is of, and that nobody pays for it who does not ask."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import beta
from sklearn.metrics import auc
from transformers import AutoTokenizer, PreTrainedModel

from components.config.errors import BadInput
from components.families.language.embedding import embed, look_at
from components.families.language.family import LanguageFamily
from components.measures.mauve import frontier_area, mauve
from components.recursion.loop import make_chain, run_chain
from components.recursion.peers import Peers
from components.regimes import Regime
from components.store import Store
from tests.embedders import POSITIONS, TEXTS, bert, gpt2, opt, saved, t5
from tests.families import language

# The frontier


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a)


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_the_mean_of_both_ways_to_integrate_the_frontier_point_by_point(seed: int):
    random = np.random.default_rng(seed)
    real, written = random.dirichlet(np.full(7, 0.5)), random.dirichlet(np.full(7, 0.5))
    written[:2] = 0
    written /= written.sum()
    points = [(1.0, 0.0), (0.0, 1.0)]
    for share in np.linspace(1e-6, 1 - 1e-6, 25):
        mixture = share * real + (1 - share) * written
        points.append((np.exp(-5 * kl(written, mixture)), np.exp(-5 * kl(real, mixture))))
    by_x, by_y = sorted(points), sorted((y, x) for x, y in points)
    both = [auc(*np.transpose(way)) for way in (by_x, by_y)]
    assert frontier_area(real, written) == pytest.approx(np.mean(both), rel=1e-9)


def test_equal_histograms_have_all_of_the_area_and_disjoint_ones_five_times_a_beta_function():
    assert frontier_area(np.array([0.3, 0.7]), np.array([0.3, 0.7])) == pytest.approx(1)
    disjoint = frontier_area(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert disjoint == pytest.approx(5 * beta(6, 5), rel=0.05)  # by trapezoids between 25 mixtures


# The clusters


def test_a_set_of_texts_is_like_itself_and_one_that_lost_half_of_its_kinds_is_less_so():
    random = np.random.default_rng(0)
    one, other = np.eye(8)[:2]
    near = random.normal(0, 1e-3, (40, 8))
    real = np.concatenate([one + near[:10], other + near[10:20]])
    lost = one + near[20:]
    assert mauve(real, real) == pytest.approx(1)
    assert mauve(real, lost) == pytest.approx(
        frontier_area(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    )  # 20 / 10 clusters
    assert np.isnan(mauve(real, real[:1]))


def test_mauve_falls_the_further_two_samples_are_apart():
    random = np.random.default_rng(0)
    real = random.normal(size=(300, 16))
    moved = [mauve(real, random.normal(size=(300, 16)) + shift * np.eye(16)[0]) for shift in (0, 1.5, 3, 6)]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > 0.9
    assert moved[-1] < 0.1


# The embeddings


@pytest.mark.parametrize("model", [gpt2, opt, bert])
def test_a_text_is_the_state_at_its_last_token_whatever_stands_beside_it_in_the_batch(
    model: Callable[[], PreTrainedModel], tmp_path: Path
):
    folder = saved(model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    whole = model().from_pretrained(folder)  # one text at a time, nothing padded
    states = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :POSITIONS]
        with torch.no_grad():
            states.append(whole(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1].numpy())
    assert {len(tokenizer(text)["input_ids"]) > POSITIONS for text in TEXTS} == {True, False}
    np.testing.assert_allclose(embed(str(folder), TEXTS), states, atol=1e-5)
    assert look_at(str(folder)).name == str(folder)


# In a chain


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LanguageFamily:
    return language(tmp_path_factory.mktemp("language"))


def test_who_asks_for_mauve_later_has_it_measured_and_nothing_computed_anew(plain: LanguageFamily, tmp_path: Path):
    embedder = look_at(str(saved(gpt2, tmp_path / "model")))
    store = Store.open(str(tmp_path / "store"))
    asking = replace(plain, embedder=embedder)
    before, after = (
        list(run_chain(make_chain(one, "a condition", Regime("replace", 0.0), "scratch", 0), one, store, 1))
        for one in (plain, asking)
    )
    tokenizer, count = AutoTokenizer.from_pretrained(plain.corpus.tokenizer_folder), len(plain.corpus.heldout)
    assert count < len(plain.real())

    def embedded(blocks: np.ndarray) -> np.ndarray:
        """Of as many blocks as there are of held-out text, as text without separators."""
        chosen = blocks[[place * len(blocks) // count for place in range(count)]]
        texts = tokenizer.batch_decode([block[block != plain.corpus.separator] for block in chosen])
        assert not any("</s>" in text for text in texts)
        return embed(embedder.name, texts)

    heldout = embedded(plain.corpus.heldout)
    for without, measured in zip(before, after, strict=True):
        written = embedded(plain.samples(measured.directories["sample"]))
        assert measured.metrics["synthetic/mauve"] == pytest.approx(mauve(heldout, written), rel=1e-6)
        assert "synthetic/mauve" not in without.metrics
        same = ("compose", "fit", "sample")
        assert [measured.directories[kind] for kind in same] == [without.directories[kind] for kind in same]
    of_real_text = mauve(heldout, embedded(plain.real()))
    assert after[0].metrics["heldout/mauve"] == pytest.approx(of_real_text, rel=1e-6)
    assert "heldout/mauve" not in after[1].metrics
    once = 2 * embedder.parameters * count * plain.real().shape[1]
    assert [asking.embedding_flops(generation) for generation in (0, 1, 2)] == [3 * once, 2 * once, 2 * once]


def test_workers_embed_their_shares_of_the_very_texts_that_one_would(plain: LanguageFamily):
    texts = {"synthetic": [f"written {row}" for row in range(31)], "heldout": [f"real {row}" for row in range(31)]}
    whole = plain._embedded(texts, True, Peers())
    shares = [plain._embedded(texts, True, Peers(rank, 3)) for rank in range(3)]
    assert {name: len(part) for name, part in whole.items()} == {
        "states/synthetic": 31,
        "states/heldout": 31,
        "states/training": len(plain.corpus.heldout),
    }
    for name, part in whole.items():
        assert [text for share in shares for text in share[name]] == part


# What is refused


def without_tokenizer(folder: Path) -> None:
    for file in saved(gpt2, folder).glob("*token*"):
        file.unlink()


def of_two_halves(folder: Path) -> None:
    saved(t5, folder)


def lacking_weights(folder: Path) -> None:
    saved(gpt2, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"n_layer": 3}))


def with_code_of_its_author(folder: Path) -> None:
    saved(gpt2, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine", "AutoModel": "code.Mine"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "code.py").write_text("raise SystemExit('code of a stranger was run')")


def as_pickle(folder: Path) -> None:
    saved(gpt2, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def nothing_there(folder: Path) -> None:
    pass


REFUSED = {
    without_tokenizer: "tokenizer",
    of_two_halves: "encoder with a decoder",
    lacking_weights: r"\d+ of its weights are missing, such as h\.2",
    with_code_of_its_author: "code of its author only",
    as_pickle: r"only pickled weights in this folder \(pytorch_model\.bin\)",
    nothing_there: "no such folder",
}


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.__name__)
def test_a_model_that_cannot_embed_is_refused_in_one_line(fault: Callable[[Path], None], tmp_path: Path):
    fault(tmp_path / "model")
    with pytest.raises(BadInput, match=REFUSED[fault]) as refused:
        look_at(str(tmp_path / "model"))
    assert refused.value.field == "measure.mauve"
    assert "\n" not in str(refused.value)
