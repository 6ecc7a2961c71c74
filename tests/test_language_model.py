"""Models from random weights, in folders, in the Hub's cache, and everything that is wrong with a user's model."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from urllib.parse import unquote, urlsplit

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from components.config.errors import BadInput
from components.corpus import hub
from components.families.language.architecture import ModelSize, create, flops_per_token, parameter_count
from components.families.language.model import architecture_of, check, load, save, weights_digest
from tests.ports import closed_port

SIZE = ModelSize(vocabulary_size=96, hidden_size=32, layers=2, heads=4, ffn_size=48, positions=40, dropout=0.1)
OPT_125M = ModelSize(50272, 768, 12, 12, 3072, 2048, 0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(create(SIZE, seed=0), tmp_path / "model", None)
    return tmp_path / "model"


def cached_snapshot(cache: Path, revision: str, commit: str) -> Path:
    """A folder as huggingface_hub keeps a revision of `meta/small`, yet without files."""
    reference = cache / "models--meta--small" / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)
    snapshot = cache / "models--meta--small" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_random_state_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = create(SIZE, 3), create(SIZE, 3), create(SIZE, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_random_weights_are_distributed_as_transformers_initialises_them() -> None:
    ours = create(SIZE, 0)
    theirs = OPTForCausalLM(OPTConfig(**ours.config.to_dict()))
    assert ours.lm_head.weight is ours.model.decoder.embed_tokens.weight
    for (name, weight), (other_name, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other_name
        assert weight.detach().std().item() == pytest.approx(other.detach().std().item(), rel=0.2)
        assert weight.detach().mean().item() == pytest.approx(other.detach().mean().item(), abs=0.004)
    assert not ours.model.decoder.embed_tokens.weight[1].any()


@pytest.mark.parametrize("size", [SIZE, ModelSize(2048, 128, 4, 4, 512, 128, 0.1)])
def test_the_parameter_count_is_that_of_the_model(size: ModelSize) -> None:
    assert parameter_count(size) == create(size, 0).num_parameters()


AS_OPT_350M = {"word_embed_proj_dim": 16, "do_layer_norm_before": False}
OTHERS: dict[str, dict[str, object]] = {
    "as OPT-350m: a narrower embedding, norms after": AS_OPT_350M,
    "an output layer of its own": {"tie_word_embeddings": False},
    "another activation, no biases": {"activation_function": "gelu", "enable_bias": False},
    "norms without weights": {"layer_norm_elementwise_affine": False},
    "no pad token, another spread": {"pad_token_id": None, "init_std": 0.006},
}


@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_random_weights_can_be_of_any_opts_own_architecture(tmp_path: Path, others: dict[str, object]) -> None:
    """Of what config.json says, not of its size alone; only the dropout is the study's."""
    configuration = create(SIZE, 0).config.to_dict() | {"attention_dropout": 0.05} | others
    theirs = OPTForCausalLM(OPTConfig(**configuration))
    theirs.save_pretrained(tmp_path)
    assert check(str(tmp_path)) == replace(SIZE, attention_dropout=0.05)
    ours = create(replace(SIZE, dropout=0.3), 0, architecture_of(str(tmp_path)))
    shapes = {name: weight.shape for name, weight in theirs.named_parameters()}
    assert {name: weight.shape for name, weight in ours.named_parameters()} == shapes
    assert ours.num_parameters() == theirs.num_parameters() == parameter_count(SIZE, configuration)
    assert (ours.config.dropout, ours.config.attention_dropout) == (0.3, 0.05)
    for name, weight in theirs.named_parameters():
        spread = ours.get_parameter(name).detach().std(unbiased=False).item()
        assert spread == pytest.approx(weight.detach().std(unbiased=False).item(), rel=0.25)
    ids = torch.arange(4, 12)[None]
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(theirs.eval()(ids).logits, ours.eval()(ids).logits)


def test_opt_125m_has_125_million_parameters_and_twice_as_many_flops_a_token() -> None:
    assert parameter_count(OPT_125M) == 125_239_296
    assert flops_per_token(OPT_125M) == pytest.approx(2 * parameter_count(OPT_125M), rel=0.02)


def test_a_saved_model_is_read_back_by_transformers_and_by_us_and_holds_no_pickle(tmp_path: Path) -> None:
    tokens = {token: index for index, token in enumerate(["<s>", "<pad>", "</s>", "a", "b"])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(tokens, unk_token="<pad>")))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    model = create(SIZE, 1)
    save(model, tmp_path / "model", tmp_path / "tokenizer")
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ours = load(tmp_path / "model", dropout=0.25)
    assert isinstance(theirs, OPTForCausalLM)
    assert (theirs.config.dropout, ours.config.dropout) == (0.1, 0.25)
    assert ours.lm_head.weight is ours.model.decoder.embed_tokens.weight
    for weight, *others in zip(model.parameters(), theirs.parameters(), ours.parameters(), strict=True):
        assert all(torch.equal(weight, other) for other in others)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").get_vocab() == tokens


def test_bfloat16_weights_are_loaded_in_fp32(tmp_path: Path) -> None:
    save(create(SIZE, 1).bfloat16(), tmp_path, None)
    assert load(tmp_path).dtype == torch.float32


def test_a_loaded_model_is_no_view_of_its_file(folder: Path) -> None:
    model = load(folder)
    before = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before
    assert all(weight.requires_grad for weight in model.parameters())
    assert not model.training


def test_loading_and_saving_say_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(create(SIZE, 1), tmp_path, None)
    load(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_checking_a_folder_gives_its_size(folder: Path) -> None:
    assert check(str(folder)) == SIZE


@pytest.mark.parametrize("kept", ["lm_head.weight", "model.decoder.embed_tokens.weight"])
def test_either_name_of_the_tied_embedding_will_do(folder: Path, kept: str) -> None:
    """Safetensors hold one of the two, whichever their writer chose (transformers issue 43159)."""
    weights = load_file(folder / "model.safetensors")
    embedding = weights.pop("model.decoder.embed_tokens.weight")
    save_file(weights | {kept: embedding}, folder / "model.safetensors", {"format": "pt"})
    assert check(str(folder)) == SIZE
    model = load(folder)
    assert torch.equal(model.model.decoder.embed_tokens.weight, embedding)
    assert torch.equal(model.lm_head.weight, embedding)


def test_meta_s_own_names_without_the_model_prefix_will_do(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    expected = load(folder).state_dict()
    save_file(
        {name.removeprefix("model."): weight for name, weight in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert check(str(folder)) == SIZE
    assert all(torch.equal(weight, expected[name]) for name, weight in load(folder).state_dict().items())


def test_sharded_weights_will_do_while_all_shards_are_there(folder: Path) -> None:
    digest = weights_digest(str(folder))
    shutil.rmtree(folder)
    create(SIZE, 0).save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert check(str(folder)) == SIZE
    assert weights_digest(str(folder)) != digest
    shards[0].unlink()
    with pytest.raises(BadInput, match=r"a file that model.safetensors.index.json names is missing"):
        check(str(folder))
    for broken in ("{", "[]", "{}", '{"weight_map": []}'):
        (folder / "model.safetensors.index.json").write_text(broken)
        with pytest.raises(BadInput, match=r"model\.safetensors\.index\.json has no weight_map"):
            check(str(folder))


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_pickle_instead(folder: Path) -> None:
    without_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"PK")


def with_checkpoint_instead(folder: Path) -> None:
    without_weights(folder)
    (folder / "model.pt").write_bytes(b"PK")


def with_pickle_under_another_name(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")


def cut_short(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def as_another_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "gpt2"}')


def with_broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def without_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_fewer_layers_than_configured(folder: Path) -> None:
    configuration = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(configuration | {"num_hidden_layers": 3}))


def with_a_wider_configuration(folder: Path) -> None:
    configuration = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(configuration | {"ffn_dim": 64}))


def with_heads_that_do_not_divide(folder: Path) -> None:
    configuration = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(configuration | {"num_attention_heads": 5}))


def with_a_word_for_a_number(folder: Path) -> None:
    configuration = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(configuration | {"hidden_size": "wide"}))


@pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (shutil.rmtree, "no such folder"),
        (without_configuration, "no config.json in this folder"),
        (with_broken_configuration, "not a JSON object"),
        (as_another_model, "model_type 'gpt2'"),
        (with_heads_that_do_not_divide, "its config.json makes no OPT"),
        (with_a_word_for_a_number, "its config.json makes no OPT"),
        (without_weights, "no weights in this folder"),
        (with_pickle_instead, r"only pickled weights in this folder \(pytorch_model.bin\)"),
        (with_checkpoint_instead, r"only pickled weights in this folder \(model.pt\)"),
        (with_pickle_under_another_name, "not a whole safetensors file"),
        (cut_short, "not a whole safetensors file"),
        (with_fewer_layers_than_configured, "of its weights are missing or of another shape"),
        (with_a_wider_configuration, "of its weights are missing or of another shape"),
    ],
)
def test_a_folder_that_cannot_serve_is_refused_with_its_name_and_a_remedy(
    folder: Path, spoil: Callable[[Path], None], remedy: str
) -> None:
    spoil(folder)
    with pytest.raises(BadInput, match=remedy) as error:
        check(str(folder))
    assert str(error.value).startswith(f"model.name = {folder}: ")
    assert "\n" not in str(error.value)


def test_a_file_is_not_a_model(folder: Path) -> None:
    with pytest.raises(BadInput, match="give the folder that holds"):
        check(str(folder / "model.safetensors"))


def test_a_model_that_lacks_weights_is_not_completed_with_random_ones(folder: Path) -> None:
    with_fewer_layers_than_configured(folder)
    with pytest.raises(
        BadInput, match=r"missing or of another shape than config.json says, such as model.decoder.layers.2"
    ):
        load(folder)


def test_a_cached_name_needs_no_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = cached_snapshot(tmp_path / "cache", "main", "a" * 40)
    shutil.copytree(folder, snapshot, dirs_exist_ok=True)
    assert check("meta/small") == SIZE
    assert weights_digest("meta/small") == weights_digest(str(folder))
    assert torch.equal(load("meta/small").lm_head.weight, load(folder).lm_head.weight)


def test_a_cached_pickle_is_passed_over_for_the_safetensors_of_the_hub_s_bot(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What transformers leaves in the cache for OPT-125m: the pull request's weights, but the main branch's configuration."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    main = cached_snapshot(tmp_path / "cache", "main", "a" * 40)
    shutil.copy(folder / "config.json", main)
    (main / "pytorch_model.bin").write_bytes(b"PK")
    converted = cached_snapshot(tmp_path / "cache", "refs/pr/7", "b" * 40)
    shutil.copy(folder / "model.safetensors", converted)
    assert check("meta/small") == SIZE
    assert torch.equal(load("meta/small").lm_head.weight, load(folder).lm_head.weight)


def in_a_fresh_process(code: str, environment: dict[str, str], cache: Path) -> str:
    """What some code prints; huggingface_hub reads its environment once a process."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=plain | {"HF_HUB_CACHE": str(cache)} | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.fixture
def asked_anew() -> Iterator[None]:
    hub.reachable.cache_clear()
    yield
    hub.reachable.cache_clear()


@pytest.mark.timeout(60)  # huggingface_hub itself asks again and again, for most of a minute
@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:{closed_port}", "http://hub.invalid", None],
    ids=["refused", "unknown host", "offline"],
)
def test_a_hub_out_of_reach_is_said_in_one_line_with_the_two_ways_out(
    endpoint: str | None, asked_anew: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", endpoint is None)
    if endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint.format(closed_port=closed_port()))
    else:
        monkeypatch.setattr(hub, "get_session", lambda: pytest.fail("asked the Hub in its offline mode"))
    with pytest.raises(
        BadInput, match=r"^model\.name = meta/small: .*local folder in model\.name.*preset=laptop"
    ) as error:
        check("meta/small")
    assert "\n" not in str(error.value)


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as one model needs: `meta/small` is a pickle on main, pull request 7 has it as safetensors."""

    folder: Path
    commits: ClassVar = {"main": "a" * 40, "refs/pr/7": "b" * 40}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/api/models/meta/small/discussions":
            author = {"name": "SFconvertbot", "_id": "0", "avatarUrl": "", "fullname": "", "type": "user"}
            request = {
                "num": 7,
                "title": "Adding `safetensors` variant of this model",
                "status": "open",
                "isPullRequest": True,
                "createdAt": "2023-01-01T00:00:00.000Z",
                "author": author,
                "repo": {"name": "meta/small", "type": "model"},
            }
            return self.answer(json.dumps({"discussions": [request], "count": 1, "start": 0}).encode())
        if path.startswith("/api/models/meta/small"):
            revision = path.removeprefix("/api/models/meta/small").removeprefix("/revision/") or "main"
            return self.answer(json.dumps(self.info(revision)).encode())
        if match := re.fullmatch(r"/meta/small/resolve/(.+)/([^/]+)", path):
            commit = self.commits.get(match[1], match[1])
            content = (self.folder / match[2]).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return self.answer(content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})
        return self.answer(b"", status=200 if path == "/" else 404)

    def info(self, revision: str) -> dict[str, object]:
        name = "model.safetensors" if revision == "refs/pr/7" else "pytorch_model.bin"
        content = (self.folder / "model.safetensors").read_bytes()
        large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
        weights = {"rfilename": name, "size": len(content), "blobId": "0", "lfs": large}
        configuration = {"rfilename": "config.json", "size": 1, "blobId": "0"}
        return {"id": "meta/small", "sha": self.commits[revision], "siblings": [configuration, weights], "tags": []}

    def answer(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_a_pickle_on_the_hub_is_taken_as_the_safetensors_of_the_hub_s_bot(folder: Path, tmp_path: Path) -> None:
    """As OPT-125m lies there. Checked without its weights, then loaded, then found again in the cache without the Hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("", (Hub,), {"folder": folder}))
    Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "from components.families.language.model import check, load, weights_digest\n"
        "print(check('meta/small'), weights_digest('meta/small'), load('meta/small').lm_head.weight.sum().item())"
    )
    environment = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    try:
        fetched = in_a_fresh_process(code, environment, tmp_path / "cache")
    finally:
        server.shutdown()
        server.server_close()
    again = in_a_fresh_process(code, environment, tmp_path / "cache")
    assert fetched == again == f"{SIZE} {weights_digest(str(folder))} {load(folder).lm_head.weight.sum().item()}\n"
