"""A store in a bucket: what holds of a folder holds of it, for machines that share nothing else. Real S3, over HTTP."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from components.config.errors import BadInput
from components.recursion.loop import make_chain, run_chain, stored_generations
from components.regimes import Regime
from components.store import DamagedPhase, Heartbeat, Store, bucket, heartbeat, is_running, lease, read_heartbeats
from components.terminal import Row, Snapshot
from pipelines.status import status
from tests.families import autoencoder, gaussian
from tests.ports import closed_port
from tests.s3 import BUCKET, S3, s3
from tests.studies import PROJECT

SEED = {"seed": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        bucket._client.cache_clear()
        yield running
    bucket._client.cache_clear()


@pytest.fixture
def path(server: S3, tmp_path: Path) -> str:
    """A prefix of the test's own."""
    return f"s3://{BUCKET}/{tmp_path.name}/studies"


@pytest.fixture
def here(path: str, tmp_path: Path) -> Store:
    return Store.open(path, str(tmp_path / "here"))


@pytest.fixture
def there(here: Store, path: str, tmp_path: Path) -> Store:
    """The same store on a machine that shares no disk with the first."""
    return Store.open(path, str(tmp_path / "there"))


def begun(store: Store, content: str) -> Path:
    folder = store.begin("fit")
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_text(content)
    (folder / "losses.parquet").write_text("losses")
    return folder


def put(store: Store, content: str = "weights") -> Path:
    return store.finish("fit", SEED, begun(store, content), {"loss": 1.5}, 2.0).place


def content_of(place: Path) -> str:
    return (place / "model" / "model.safetensors").read_text()


def test_what_one_machine_finished_another_finds_and_brings(here: Store, there: Store):
    put(here)
    found = there.find("fit", SEED)
    assert found is not None
    assert (found.metrics, found.seconds) == ({"loss": 1.5}, 2.0)
    assert not (found.place / "losses.parquet").exists()
    there.bring(found.place, weights=False)
    assert (found.place / "losses.parquet").read_text() == "losses"
    assert not (found.place / "model").exists()
    there.bring(found.place)
    assert content_of(found.place) == "weights"
    assert there.find("fit", {"seed": 2}) is None


def test_a_location_is_an_address_under_which_the_files_are(here: Store, server: S3):
    place = put(here)
    name = here.location(place).removeprefix(f"s3://{BUCKET}/")
    assert server.read(f"{name}/model/model.safetensors") == b"weights"


def test_an_upload_that_was_cut_off_is_no_phase_and_the_next_one_clears_it(here: Store, there: Store, server: S3):
    place = put(here)
    location = here.location(place).removeprefix(f"s3://{BUCKET}/")
    manifest = f"{location.rsplit('/', 1)[0]}/manifest.json"
    server.client.delete_object(Bucket=BUCKET, Key=manifest)
    assert there.find("fit", SEED) is None
    put(there, "others")
    assert server.names(location) == []
    assert manifest in server.names()


def test_a_phase_that_was_finished_and_not_yet_uploaded_when_its_process_died_is_uploaded_when_it_is_next_looked_for(
    here: Store, there: Store, server: S3
):
    place = put(here)
    for name in server.names(here.location(place).removeprefix(f"s3://{BUCKET}/").rsplit("/", 1)[0]):
        server.client.delete_object(Bucket=BUCKET, Key=name)
    assert there.find("fit", SEED) is None
    assert here.find("fit", SEED) is not None
    found = there.find("fit", SEED)
    assert found is not None
    there.bring(found.place)
    assert content_of(found.place) == "weights"


@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted"])
def test_a_damaged_file_is_never_used_and_its_phase_is_no_more(damage: str, here: Store, there: Store, server: S3):
    place = put(here)
    name = f"{here.location(place)}/model/model.safetensors".removeprefix(f"s3://{BUCKET}/")
    if damage == "deleted":
        server.client.delete_object(Bucket=BUCKET, Key=name)
    else:
        server.client.put_object(Bucket=BUCKET, Key=name, Body=b"weighty" if damage == "flipped" else b"weig")
    found = there.find("fit", SEED)
    assert found is not None
    with pytest.raises(DamagedPhase, match=r"model\.safetensors is damaged"):
        there.bring(found.place)
    assert not (found.place / "model" / "model.safetensors").exists()
    assert there.find("fit", SEED) is None
    assert content_of(put(there)) == "weights"


def test_a_cache_that_was_damaged_or_is_of_an_earlier_computation_is_brought_up_to_date(here: Store, there: Store):
    place = put(here)
    found = there.find("fit", SEED)
    assert found is not None
    there.bring(found.place)
    (found.place / "model" / "model.safetensors").write_text("weighty")
    there.bring(found.place)
    assert content_of(found.place) == "weights"
    here.drop("fit", SEED)
    assert put(here, "others") == place
    there.bring(found.place)
    assert content_of(found.place) == "others"
    assert here.find("fit", SEED) is not None


def test_of_two_that_computed_the_same_phase_the_first_one_stands_for_both(here: Store, there: Store):
    second = begun(there, "second")
    put(here, "first")
    place = there.finish("fit", SEED, second, {"loss": 2.5}, 1.0).place
    found = there.find("fit", SEED)
    assert found is not None
    assert found.metrics == {"loss": 1.5}
    there.bring(place)
    assert content_of(place) == "first"


def test_what_was_dropped_is_found_nowhere(here: Store, there: Store, server: S3):
    place = put(here)
    location = here.location(place).removeprefix(f"s3://{BUCKET}/")
    here.drop("fit", SEED)
    assert here.find("fit", SEED) is None
    assert there.find("fit", SEED) is None
    assert server.names(location) == []


def test_small_files_that_change_are_the_same_on_every_machine(here: Store, there: Store):
    assert there.read_json("chains/a.json") is None
    here.write_json("chains/a.json", {"generation": 1})
    assert there.read_json("chains/a.json") == {"generation": 1}
    (here.root / "sweeps" / "a").mkdir(parents=True)
    (here.root / "sweeps" / "a" / "study.db").write_bytes(b"books")
    here.push("sweeps/a")
    assert (there.pull("sweeps/a") / "study.db").read_bytes() == b"books"


def test_the_journal_of_a_bucket_says_what_was_computed_on_any_machine(here: Store, there: Store, server: S3):
    put(here)
    folder = there.begin("sample")
    there.finish("sample", SEED, folder, {}, 1.0)
    assert here.bucket is not None
    lines = [json.loads(here.bucket.get(name) or b"") for name in here.bucket.names("journal/")]
    assert [line["kind"] for line in lines] == ["fit", "sample"]


def test_one_process_holds_a_phase_and_whoever_wants_it_waits(here: Store, there: Store):
    first, second = here.lock("fit", SEED), there.lock("fit", SEED)
    first.acquire()
    with pytest.raises(Timeout):
        second.acquire(timeout=1)
    first.release()
    second.acquire(timeout=1)
    second.release()


def test_a_study_runs_once_at_a_time_whatever_machine_it_is_started_on(here: Store, there: Store):
    with here.only_one("study"):
        with pytest.raises(BadInput, match="running on it already"), there.only_one("study"):
            pass
        with there.only_one("another"):
            pass
    with there.only_one("study"):
        pass


def test_what_a_killed_process_of_this_machine_held_is_free_at_once(here: Store, path: str, tmp_path: Path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom components.store import Store\n"
            "Store.at(sys.argv[1], sys.argv[2]).lock('fit', {'seed': 1}).acquire()\n"
            "print('held', flush=True)\ntime.sleep(600)",
            path,
            str(tmp_path / "here"),
        ],
        cwd=PROJECT,
        env=os.environ,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Timeout):
            here.lock("fit", SEED).acquire(timeout=0)
    finally:
        holder.kill()
        holder.communicate()
    lock = here.lock("fit", SEED)
    lock.acquire(timeout=2)
    lock.release()


def test_a_lease_lives_as_long_as_its_holder_writes_it_anew_and_no_machines_clock_matters(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "SECONDS_BETWEEN_BEATS", 0.5)
    monkeypatch.setattr(lease, "SECONDS_TO_LIVE", 3)
    held, wanted = here.lock("fit", SEED), there.lock("fit", SEED)
    held.acquire()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1e6)  # the clock of whoever wants it jumps by days
    with pytest.raises(Timeout):
        wanted.acquire(timeout=4)
    held.release()


def test_the_lease_of_a_machine_that_is_gone_can_be_had_when_it_is_old(
    here: Store, monkeypatch: pytest.MonkeyPatch, server: S3
):
    monkeypatch.setattr(lease, "SECONDS_TO_LIVE", 3)
    assert here.bucket is not None
    lock = here.lock("fit", SEED)
    here.bucket.put_new(lock._key, json.dumps({"owner": "gone~1~1.0~lease~abc", "beat": 1}).encode())
    with pytest.raises(Timeout):
        lock.acquire(timeout=1)
    lock.acquire(timeout=10)
    lock.release()
    assert here.bucket.names("locks/") == []


def test_a_study_elsewhere_is_told_out_of_the_bucket_alone_and_runs_as_long_as_its_last_beat_is_young(
    here: Store, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert here.bucket is not None
    with Heartbeat(here, "vae-smoke-1", {"entry_point": "vae", "preset": "smoke"}) as beating:
        beating.tell(Snapshot([Row("a seed 0", "a", 1, 3, "generation 2 · fit 40 %", 12.0)], 24.0, False).to_json())
        beating._write("running")
        there = Store.look_at(path)  # with no folder of its own
        (told,) = read_heartbeats(there)
        assert is_running(there, told)
        of_another = replace(told, owner="another~1~1.0~study~abc")
        assert is_running(there, of_another)
        monkeypatch.setattr(heartbeat, "SECONDS_TO_LIVE", 0)
        assert not is_running(there, of_another)
    status(["--store.path", path])
    output = capsys.readouterr().out
    assert output.startswith("vae-smoke-1 is finished (begun on ")
    assert "generation 2 · fit 40 %" in output


def test_no_store_in_the_bucket_and_no_bucket_are_one_line(path: str, server: S3):
    for wrong, remedy in ((path, "no store is there"), ("s3://no-such-bucket/a", "check bucket")):
        with pytest.raises(BadInput, match=remedy):
            Store.look_at(wrong)


@pytest.mark.parametrize("family", [gaussian, autoencoder], ids=["gaussian", "vae"])
def test_a_chain_is_continued_on_another_machine_with_the_numbers_of_one_that_stayed(
    family, here: Store, path: str, tmp_path: Path
):
    made = family(tmp_path)
    if made.data_folder:  # its images as another machine finds them
        from components.config.small_families import ImagesSettings
        from components.families.vae import images

        made = type(made)(images.prepare(ImagesSettings(train_images=96), here).place, made.latents, made.recipe)
    chain = make_chain(made, "a condition", Regime("replace"), "scratch", 0)
    list(run_chain(chain, made, here, 1))
    stayed = [one.metrics for one in run_chain(chain, made, Store.open(str(tmp_path / "folder")), 3)]
    other = Store.open(path, str(tmp_path / "here"))
    assert len(list(stored_generations(chain, made, other, 3))) == 2
    moved = [one.metrics for one in run_chain(chain, made, other, 3)]
    timeless = [{k: v for k, v in one.items() if "second" not in k} for one in moved]
    assert timeless == [{k: v for k, v in one.items() if "second" not in k} for one in stayed]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("s3://a-key:a-secret@studies/a", "credentials do not belong into settings"),
        ("s3://", "a store is a folder or s3://bucket/prefix"),
        ("s3://studies/../a", "a store is a folder or s3://bucket/prefix"),
        ("gs://studies/a", "a store is a folder or s3://bucket/prefix"),
        ("s3://nobodys/a", "bucket does not exist"),
    ],
)
def test_a_store_that_cannot_be_is_refused_in_one_line_that_shows_no_secret(
    path: str, said: str, server: S3, tmp_path: Path
):
    with pytest.raises(BadInput, match=said) as refused:
        Store.open(path, str(tmp_path))
    assert "\n" not in str(refused.value)
    assert "a-secret" not in str(refused.value)


IGNORED = {
    "If-None-Match on a write": ("PutObject", "If-None-Match"),
    "If-Match on a write": ("PutObject", "If-Match"),
    "If-Match on a deletion": ("DeleteObject", "If-Match"),
}


@pytest.mark.parametrize("said", IGNORED)
def test_a_server_that_ignores_a_condition_that_leases_need_is_refused_by_its_name(
    said: str, path: str, server: S3, tmp_path: Path
):
    """The header is taken out of each request before it is signed: the server answers as one that does not know it."""
    operation, header = IGNORED[said]
    client, event = bucket._client(**bucket.IMPATIENT), f"before-sign.s3.{operation}"

    def take_out(request: Any, **_: Any) -> None:
        if header in request.headers:
            del request.headers[header]

    client.meta.events.register(event, take_out)
    try:
        with pytest.raises(BadInput, match=f"this server ignores {said}"):
            Store.open(path, str(tmp_path / "here"))
    finally:
        client.meta.events.unregister(event, take_out)
    assert server.names(path.removeprefix(f"s3://{BUCKET}/")) == []  # no probe is left
    Store.open(path, str(tmp_path / "here"))


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path):
    environment = os.environ | {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{closed_port()}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = ["-m", "pipelines.gaussian", "--store.path", "s3://studies/a", "--store.cache", str(tmp_path)]
    refused = subprocess.run(
        [sys.executable, *command], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 2, refused.stderr
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("store.path = s3://studies/a: ")
    assert "Could not connect" in line
