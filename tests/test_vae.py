"""VAEs: the published network, its loss against torch's distributions, training against a plain loop, images read and refused."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from components.config.errors import BadInput
from components.config.small_families import ImagesSettings
from components.families.vae import images, model
from components.families.vae.family import VaeFamily, _of_images, _scores, contact_sheet
from components.families.vae.reference import beside_real, mean_image_losses
from components.families.vae.training import Recipe, Rows, draw, train
from components.measures.errors import share_error
from components.recursion.family import Diverged, GuardFailure
from components.recursion.loop import make_chain, run_chain
from components.recursion.records import Generation
from components.regimes import REAL, Composition, Regime
from components.store import Store
from tests.families import autoencoder

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist-10k"
SHAPE = model.Shape(8, 8)


def composed(source: list[int]) -> Composition:
    return Composition(np.array(source, np.int16), np.arange(len(source), dtype=np.int32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 8, 8), np.uint8))


def run(family: VaeFamily, folder: Path, generations: int, regime: Regime | None = None) -> list[Generation]:
    chain = make_chain(family, "a condition", regime or Regime("replace"), "scratch", seed=0)
    return list(run_chain(chain, family, Store.open(str(folder)), generations))


# the network


def test_on_28x28_images_the_network_has_the_published_number_of_parameters():
    assert model.parameter_count(model.create(model.Shape(28, 28), seed=0)) == 647_081


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 16)])
def test_images_come_back_in_their_size_as_means_between_0_and_1(height: int, width: int):
    vae = model.create(model.Shape(height, width, 5), seed=0)
    batch = torch.rand(3, 1, height, width)
    mean, log_variance = vae.encode(batch)
    assert mean.shape == log_variance.shape == (3, 5)
    decoded = vae.decode(mean)
    assert decoded.shape == batch.shape
    assert 0 < decoded.min() < decoded.max() < 1


def test_the_loss_is_that_of_torchs_distributions():
    vae, batch, noise = model.create(SHAPE, seed=1), torch.rand(6, 1, 8, 8), torch.randn(6, 20)
    errors, divergence = model.negative_elbo(vae, batch, noise)
    mean, log_variance = vae.encode(batch)
    posterior = Normal(mean, torch.exp(log_variance / 2))
    likelihood = Bernoulli(probs=vae.decode(mean + noise * posterior.scale), validate_args=False)
    torch.testing.assert_close(errors, -likelihood.log_prob(batch).sum(dim=(1, 2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(divergence, kl_divergence(posterior, Normal(0, 1)).sum(dim=1), rtol=1e-4, atol=1e-5)


def test_a_saved_network_is_the_same_when_loaded(tmp_path: Path):
    vae, latents = model.create(SHAPE, seed=1), torch.randn(4, 20)
    model.save(vae, tmp_path / "model")
    assert torch.equal(model.load(tmp_path / "model").decode(latents), vae.decode(latents))
    images_of = model._load_pyfunc(str(tmp_path / "model")).predict(latents.numpy())
    np.testing.assert_array_equal(images_of, vae.decode(latents)[:, 0].detach().numpy())


# training


def test_training_is_that_of_a_plain_loop_with_torchs_adam():
    """The same weights from the same order and noise, with the loop and the loss written out as the published code has them."""
    recipe, data = Recipe(epochs=3, batch_size=16), some_images(40)
    ours = model.create(SHAPE, seed=2)
    rows = Rows(composed([REAL] * 40), {REAL: data}, "means", generator(5))
    losses = train(ours, rows, recipe, np.random.default_rng(3), lambda done, total: None)

    plain, random, order = model.create(SHAPE, seed=2), generator(5), np.random.default_rng(3)
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3, weight_decay=1e-5)
    expected = []
    for _ in range(3):
        for chosen in torch.from_numpy(order.permutation(40)).split(16):
            batch = data[chosen].unsqueeze(1) / 255
            mean, log_variance = plain.encode(batch)
            latents = mean + torch.randn(len(batch), 20, generator=random) * torch.exp(0.5 * log_variance)
            error = nn.functional.binary_cross_entropy(plain.decode(latents), batch, reduction="sum")
            loss = error - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            expected.append(loss.item() / len(batch))
    np.testing.assert_allclose([loss for _, _, loss in losses], expected, rtol=1e-4)
    for weights, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weights, theirs, rtol=1e-3, atol=1e-5)
    assert [(step, epoch) for step, epoch, _ in losses] == [(step, step // 3) for step in range(9)]


def test_a_minibatch_holds_the_real_rows_it_names_and_new_draws_for_the_others():
    data, decoder = some_images(6), model.create(SHAPE, seed=0)
    composition = composed([REAL, 0, REAL, 0, 0, REAL])
    rows = Rows(composition, {REAL: data, 0: decoder}, "means", generator())
    chosen = np.array([5, 1, 0, 3])
    first, again = rows.minibatch(chosen), rows.minibatch(chosen)
    kept = data[[5, 0]].unsqueeze(1) / 255
    assert torch.equal(first[:2], kept)
    assert torch.equal(again[:2], kept)
    assert not torch.equal(first[2:], again[2:])
    latents = torch.randn(2, 20, generator=generator())
    torch.testing.assert_close(first[2:], decoder.decode(latents))


def test_bernoulli_draws_are_black_or_white_with_the_decoders_means():
    decoder = model.create(SHAPE, seed=0)
    drawn = draw(decoder, 20_000, "bernoulli", generator(1))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    means = draw(decoder, 20_000, "means", generator(1))
    np.testing.assert_allclose(drawn.mean(dim=0), means.mean(dim=0), atol=4.5 * 0.5 / 20_000**0.5)


def test_a_loss_that_is_not_finite_is_refused_as_divergence():
    rows = Rows(composed([REAL] * 8), {REAL: some_images(8)}, "means", generator())
    with pytest.raises(Diverged, match=r"epoch \d is not finite"):
        train(model.create(SHAPE, 0), rows, Recipe(5, 8, 1e12), np.random.default_rng(0), lambda done, total: None)


def test_a_generation_that_learns_nothing_is_refused(tmp_path: Path):
    family = autoencoder(tmp_path, train_images=16)
    idle = VaeFamily(family.images_folder, 20, Recipe(1, 16, 1e-30))
    with pytest.raises(GuardFailure, match="nothing was learnt"):
        run(idle, tmp_path / "store", 0)


# the chain


@pytest.fixture(scope="module")
def collapsing(tmp_path_factory: pytest.TempPathFactory) -> tuple[VaeFamily, list[Generation]]:
    folder = tmp_path_factory.mktemp("collapsing")
    family = autoencoder(folder, train_images=700, epochs=24)
    return family, run(family, folder / "store", 2)


def test_the_latent_spread_and_the_variance_of_the_images_fall_generation_by_generation(collapsing):
    _, generations = collapsing
    for metric in ("synthetic/latent_spread", "synthetic/pixel_variance_share"):
        values = [generation.metrics[metric] for generation in generations]
        assert values[0] > 1.2 * values[1] > 1.2 * 1.2 * values[2], (metric, values)
    for generation in generations:
        assert generation.metrics["heldout/latent_spread"] > generation.metrics["synthetic/latent_spread"]
    test = [generation.metrics["test/negative_elbo"] for generation in generations]
    assert test == sorted(test)


def test_the_measures_are_those_of_generation_0s_encoder_and_of_the_pixels(collapsing):
    family, generations = collapsing
    first = model.load(generations[0].directories["fit"] / "model")
    for generation in generations:
        samples = family.samples(generation.directories["sample"])
        means, _ = first.encode(torch.from_numpy(samples.copy()).unsqueeze(1) / 255)
        assert generation.metrics["synthetic/latent_spread"] == pytest.approx(float(means.detach().std()), rel=1e-3)
        of_real = np.var(family.real["train"] / 255, axis=0, ddof=1).sum()
        for name, shown in (("synthetic", samples), ("heldout", family.real["test"])):
            variance = np.var(shown / 255, axis=0, ddof=1).sum() / of_real
            assert generation.metrics[f"{name}/pixel_variance_share"] == pytest.approx(variance, rel=1e-6)


def test_the_numbers_of_held_out_real_images_are_those_of_the_test_split_under_generation_0_in_every_generation(
    collapsing,
):
    family, generations = collapsing
    first = model.load(generations[0].directories["fit"] / "model")
    means, _ = first.encode(torch.from_numpy(family.real["test"].copy()).unsqueeze(1) / 255)
    for generation in generations:
        assert generation.metrics["heldout/latent_spread"] == pytest.approx(float(means.detach().std()), rel=1e-3)
        assert 0.8 < generation.metrics["heldout/pixel_variance_share"] < 1.25
        beside = generations[0].metrics["test/negative_elbo"]  # the latents are drawn again
        assert generation.metrics["heldout/negative_elbo_under_generation0"] == pytest.approx(beside, rel=0.02)
    assert generations[2].metrics["heldout/latent_spread"] == pytest.approx(
        generations[0].metrics["heldout/latent_spread"]
    )


def test_the_spread_and_the_variance_of_images_do_not_go_by_how_many_there_are(collapsing):
    """So that a small test split can stand beside many samples."""
    family, generations = collapsing
    first, train = model.load(generations[0].directories["fit"] / "model"), family.real["train"]
    random, noise = np.random.default_rng(0), generator()
    found = {20: [], 400: []}
    for size, values in found.items():
        for _ in range(60):
            images = train[random.choice(len(train), size, replace=False)]
            scores = _scores("some", first, images, noise)
            values.append(list(_of_images("some", scores, images, train).values()))
    few, many = (np.array(values) for values in found.values())
    error = few.std(axis=0, ddof=1) / np.sqrt(len(few))
    assert (np.abs(few.mean(axis=0) - many.mean(axis=0)) < 4 * error).all()


def test_a_generation_is_measured_on_images_to_choose_by_which_are_neither_trained_nor_tested_on(tmp_path: Path):
    """Every third held-out image is darker: they are the validation images, which cost more nats than the test images."""
    digits = np.round(load_digits().images * 255 / 16).astype(np.uint8)[:129]
    write_idx(tmp_path / "train-idx3", digits[:96])
    digits[97::3] //= 2
    write_idx(tmp_path / "test-idx3", digits[96:])
    real = images.prepare(ImagesSettings(path=str(tmp_path)), Store.open(str(tmp_path / "store")))
    family = VaeFamily(real.place, 20, Recipe(16, 16))
    (generation,) = run(family, tmp_path / "store", 0)
    fitted, found = model.load(generation.directories["fit"] / "model"), {}
    for split in ("validation", "test"):
        batch, random = torch.from_numpy(family.real[split].copy()).unsqueeze(1) / 255, generator()
        with torch.no_grad():
            draws = [
                model.negative_elbo(fitted, batch, torch.randn(len(batch), 20, generator=random)) for _ in range(50)
            ]
        found[split] = float(torch.stack([errors + divergence for errors, divergence in draws]).mean())
        assert generation.metrics[f"{split}/negative_elbo"] == pytest.approx(found[split], rel=0.05), split
    assert found["validation"] > 1.1 * found["test"]


def test_the_validation_images_determine_measures_and_neither_fits_nor_samples(tmp_path: Path):
    """Two folders that differ in one held-out image: it is a validation image of theirs."""
    pixels, families = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8), []
    for changed in (False, True):
        folder = tmp_path / str(changed)
        write_idx(folder / "train-idx3", pixels[:20])
        held = pixels[20:].copy()
        held[1] += changed
        write_idx(folder / "test-idx3", held)
        real = images.prepare(ImagesSettings(path=str(folder)), Store.open(str(tmp_path / "store")))
        families.append(VaeFamily(real.place, 20, Recipe(1, 16)))
    one, other = (family.settings for family in families)
    assert families[0].digests() == families[1].digests()
    assert one["measure"] != other["measure"]
    assert {**one, "measure": None} == {**other, "measure": None}


def test_samples_are_the_decoders_means_as_bytes_with_a_sheet_to_look_at(collapsing):
    family, generations = collapsing
    samples = family.samples(generations[1].directories["sample"])
    assert samples.shape == family.real["train"].shape
    decoder = model.load(generations[1].directories["sample"] / "model")
    again = draw(decoder, 5000, "means", generator(7))[:, 0].numpy() * 255
    np.testing.assert_allclose(samples.mean(axis=0), again.mean(axis=0), atol=4.5 * again.std(axis=0).max() / 700**0.5)
    with Image.open(generations[1].directories["sample"] / "samples.png") as sheet:
        assert np.array_equal(np.asarray(sheet), contact_sheet(samples[:64]))


def test_the_losses_of_a_fit_stand_step_by_step(collapsing):
    _, generations = collapsing
    losses = pd.read_parquet(generations[0].directories["fit"] / "losses.parquet")
    assert losses["step"].tolist() == list(range(24 * 22))
    assert losses["loss"].iloc[-22:].mean() == pytest.approx(generations[0].metrics["train/negative_elbo"])


def test_kept_samples_are_the_images_that_were_written(tmp_path: Path):
    """With `fresh` off a generation sees the images of the one before, as many as there are, again and again."""
    family = autoencoder(tmp_path, epochs=1, fresh=False)
    generations = run(family, tmp_path / "store", 1)
    source = family._source(0, pool_of(generations))
    np.testing.assert_array_equal(source, family.samples(generations[0].directories["sample"]))
    assert isinstance(autoencoder(tmp_path)._source(0, pool_of(generations)), model.Vae)


def pool_of(generations: list[Generation]):
    from components.recursion.family import Pool

    return Pool([generation.directories["sample"] for generation in generations])


# real images


def prepared(store: Path, **settings: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training, validation and test images."""
    phase = images.prepare(ImagesSettings(**settings), Store.open(str(store)))
    train_images, validation, test_images = (
        np.load(phase.place / f"{name}.npy") for name in ("train", "validation", "test")
    )
    return train_images, validation, test_images


def write_idx(file: Path, pixels: np.ndarray) -> Path:
    content = b"\x00\x00\x08\x03" + b"".join(size.to_bytes(4) for size in pixels.shape) + pixels.tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def test_the_digits_are_scikit_learns_a_tenth_of_them_held_out_to_validate_and_to_test_on(tmp_path: Path):
    splits = prepared(tmp_path)
    assert [split.shape for split in splits] == [(1617, 8, 8), (60, 8, 8), (120, 8, 8)]
    together = np.sort(np.concatenate(splits).reshape(-1, 64).sum(axis=1))
    theirs = np.sort(np.round(load_digits().data * 255 / 16).sum(axis=1))
    np.testing.assert_array_equal(together, theirs)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_split_by_their_names(suffix: str, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 12, 8), np.uint8)
    folder = tmp_path / "test-data"  # whose own name says nothing of the files in it
    write_idx(folder / f"train-images-idx3-ubyte{suffix}", pixels[:20])
    write_idx(folder / f"t10k-images-idx3-ubyte{suffix}", pixels[20:])
    train_images, validation, test_images = prepared(tmp_path / "store", path=str(folder))
    np.testing.assert_array_equal(train_images, pixels[:20])
    np.testing.assert_array_equal(validation, pixels[[21, 24, 27]])  # every third one
    np.testing.assert_array_equal(test_images, pixels[[20, 22, 23, 25, 26, 28, 29]])


@pytest.mark.skipif(not MNIST.is_dir(), reason="no MNIST images beside the project")
def test_mnists_own_files_are_read(tmp_path: Path):
    splits = prepared(tmp_path, path=str(MNIST))
    assert [split.shape for split in splits] == [(9000, 28, 28), (333, 28, 28), (667, 28, 28)]
    assert 0.12 < np.concatenate(splits).mean() / 255 < 0.14  # MNIST's mean is 0.13


def test_a_folder_of_pictures_is_read_in_grey(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    for row, image in enumerate(pixels):
        Image.fromarray(image).convert("RGB").save(tmp_path / f"{row:02d}.png")
    together = sorted(map(bytes, np.concatenate(prepared(tmp_path / "store", path=str(tmp_path)))))
    assert together == sorted(map(bytes, pixels))


def test_a_data_set_of_openml_is_taken_from_scikit_learns_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The answers of OpenML are put where scikit-learn keeps them: its own code reads them, and nothing is fetched."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16), np.uint8)
    columns = [*(f"pixel{place}" for place in range(1, 17)), "class"]
    kinds = dict.fromkeys(columns, "real") | {"class": "{0,1}"}
    header = ["@RELATION tiny", *(f"@ATTRIBUTE {name} {kind}" for name, kind in kinds.items()), "@DATA"]
    arff = "\n".join([*header, *(",".join(map(str, [*row, place % 2])) for place, row in enumerate(pixels)), ""])
    description = {
        "id": "7", "name": "tiny", "version": "1", "format": "ARFF", "file_id": "9", "status": "active", "description": "tiny images",
        "url": "https://www.openml.org/data/v1/download/9/tiny.arff", "md5_checksum": hashlib.md5(arff.encode()).hexdigest(),
    }  # fmt: skip
    features = [
        {"index": str(place), "name": name, "data_type": "nominal" if name == "class" else "numeric",
         "is_target": "true" if name == "class" else "false", "is_ignore": "false",
         "is_row_identifier": "false", "number_of_missing_values": "0"}
        for place, name in enumerate(columns)
    ]  # fmt: skip
    answers = {
        "api/v1/json/data/list/data_name/tiny/limit/2/data_version/1": {
            "data": {"dataset": [{"did": 7, "status": "active"}]}
        },
        "api/v1/json/data/7": {"data_set_description": description},
        "api/v1/json/data/features/7": {"data_features": {"feature": features}},
        "api/v1/json/data/qualities/7": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "20"}]}},
    }
    contents = {name: json.dumps(answer) for name, answer in answers.items()} | {"data/v1/download/9/tiny.arff": arff}
    for name, content in contents.items():
        file = tmp_path / "cache" / "openml" / "openml.org" / f"{name}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content.encode()))
    splits = prepared(tmp_path / "store", name="tiny")
    assert splits[0].shape == (18, 4, 4)
    together = sorted(map(bytes, np.concatenate(splits)))
    assert together == sorted(map(bytes, pixels))


def test_fewer_training_images_are_taken_from_all_over_the_set(tmp_path: Path):
    pixels = np.repeat(np.arange(40, dtype=np.uint8), 16).reshape(40, 4, 4)
    write_idx(tmp_path / "train-idx3", pixels)
    write_idx(tmp_path / "test-idx3", pixels[:4])
    train_images, *_ = prepared(tmp_path / "store", path=str(tmp_path), train_images=4, shared_images=True)
    assert train_images[:, 0, 0].tolist() == [0, 13, 26, 39]


def test_a_damaged_idx_file_is_refused_by_name(tmp_path: Path):
    pixels = np.zeros((20, 8, 8), np.uint8)
    whole = write_idx(tmp_path / "a-idx3-ubyte", pixels).read_bytes()
    damages = {
        "short": (whole[:-3], "8x8 pixels take 1296 bytes, it has 1293"),
        "labels": (b"\x00\x00\x08\x01" + whole[4:], "does not begin with 00 00 08 03"),
        "empty": (b"", "does not begin with"),
    }
    for content, message in damages.values():
        (tmp_path / "a-idx3-ubyte").write_bytes(content)
        with pytest.raises(BadInput, match=message):
            prepared(tmp_path / "store", path=str(tmp_path / "a-idx3-ubyte"))
    packed = gzip.compress(whole)
    (tmp_path / "b-idx3-ubyte.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BadInput, match="cannot be read"):
        prepared(tmp_path / "store", path=str(tmp_path / "b-idx3-ubyte.gz"))


def test_images_of_unequal_or_impossible_size_are_refused(tmp_path: Path):
    write_idx(tmp_path / "train-idx3-ubyte", np.zeros((20, 8, 8), np.uint8))
    write_idx(tmp_path / "test-idx3-ubyte", np.zeros((20, 8, 12), np.uint8))
    with pytest.raises(BadInput, match=r"train-idx3-ubyte: 8x8, but test-idx3-ubyte is 8x12; all images need one size"):
        prepared(tmp_path / "store", path=str(tmp_path))
    write_idx(tmp_path / "odd" / "idx3", np.zeros((20, 8, 10), np.uint8))
    with pytest.raises(BadInput, match="images of 8x10; both sides must be multiples of 4"):
        prepared(tmp_path / "store", path=str(tmp_path / "odd"))


# beside the real images


def test_the_mean_images_loss_is_torchs_cross_entropy_of_it():
    train, test = (np.random.default_rng(seed).integers(0, 256, (30, 4, 4), np.uint8) for seed in (0, 1))
    mean = torch.from_numpy(train.mean(axis=0) / 255)
    pixels = torch.from_numpy(test / 255)
    expected = nn.functional.binary_cross_entropy(mean.expand_as(pixels), pixels, reduction="none").sum(dim=(1, 2))
    np.testing.assert_allclose(mean_image_losses(train, test), expected.numpy())
    assert np.isfinite(mean_image_losses(train * 0, test)).all()


def test_images_of_a_generation_are_held_against_the_real_ones_under_generation_0():
    random = np.random.default_rng(0)
    corners = np.repeat(np.eye(10) * 5, 40, axis=0) + random.normal(0, 0.1, (400, 10))

    def scored(latents: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"latents": list(latents), "negative_elbo": losses})

    real, held_out = scored(corners, np.linspace(0, 0.5, 400)), scored(corners[::4], np.linspace(0, 1, 100))
    same, collapsed = scored(corners, np.linspace(0, 1, 400)), scored(corners * 0 + 0.5, np.full(400, 2.0))
    found = dict(beside_real(real, held_out, {0: same, 3: collapsed}))
    assert found[0]["synthetic/distinct_modes"] == pytest.approx(10, abs=0.1)
    assert found[3]["synthetic/distinct_modes"] == pytest.approx(1, abs=0.1)
    assert found[0]["synthetic/outer_latents"] == pytest.approx(0.1, abs=0.01)
    assert found[3]["synthetic/outer_latents"] == 0
    # Half lies beyond the training images. Of 100 held-out ones the 99 % point is nearly the largest.
    assert found[0]["synthetic/beyond_real_p99"] == pytest.approx(0.01, abs=0.01)
    assert found[3]["synthetic/beyond_real_p99"] == 1
    for generation in (0, 3):
        assert found[generation]["heldout/distinct_modes"] == pytest.approx(10, abs=0.1)
        assert found[generation]["heldout/outer_latents"] == pytest.approx(0.1, abs=0.05)
        assert found[generation]["heldout/beyond_real_p99"] == 0.01
        assert found[generation]["heldout/beyond_real_p99_error"] >= np.sqrt(0.01 * 0.99 / 100)
    assert found[3]["synthetic/outer_latents_error"] == share_error(0.0, 400)


def test_images_and_held_out_images_are_told_apart_in_sets_of_one_size():
    """Fewer points tell fewer modes apart: of the same images it is the same number."""
    latents = np.random.default_rng(0).normal(0, 1, (2000, 4))
    scored = pd.DataFrame({"latents": list(latents), "negative_elbo": np.arange(2000.0)})
    few = scored.iloc[np.linspace(0, 1999, 60).astype(int)]
    ((_, found),) = beside_real(scored, few, {0: scored})
    assert found["synthetic/distinct_modes"] == pytest.approx(found["heldout/distinct_modes"])
    assert found["synthetic/distinct_modes_error"] == pytest.approx(found["heldout/distinct_modes_error"])


def test_the_error_of_the_latents_spread_is_that_of_many_sets():
    random = np.random.default_rng(0)
    real = pd.DataFrame({"latents": list(random.normal(0, 1, (50, 3))), "negative_elbo": np.arange(50.0)})
    sets = random.normal(0, 1, (200, 300, 3)) * random.uniform(0.5, 2, (200, 300, 1))
    found = [
        dict(beside_real(real, real, {0: pd.DataFrame({"latents": list(one), "negative_elbo": np.zeros(300)})}))[0]
        for one in sets[:5]
    ]
    errors = np.mean([one["synthetic/latent_spread_error"] for one in found])
    assert errors == pytest.approx(sets.std(axis=(1, 2)).std(), rel=0.2)
