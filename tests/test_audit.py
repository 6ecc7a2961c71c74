"""`make audit`: the real pip-audit against a source of advisories of the test's own."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.audit.__main__ import ACCEPTED, LOCK, audit, read_accepted, verdict
from tests.ports import closed_port

PROJECT = Path(__file__).resolve().parents[1]
HOLE = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "aliases": ["CVE-2030-12345"],
    "summary": "a hole",
    "affected": [
        {
            "package": {"name": "ray", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


@contextmanager
def advisories(status: int = 200, vulnerable: tuple[str, ...] = (), silent: bool = False) -> Iterator[list[str]]:
    """As much of OSV as pip-audit asks of it; gives the options that lead there."""
    over = Event()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if silent:
                over.wait()
            known: dict[str, Any] = {"vulns": [HOLE]} if question["package"]["name"] in vulnerable else {}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(known).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ["--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/v1/query"]
    finally:
        over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Five pins of the project's own."""
    wanted = ("ray==", "mlflow==", "torch==", "numpy==", "pip_audit==")
    (tmp_path / "requirements.lock").write_text(
        "".join(f"{pin}\n" for pin in LOCK.read_text().split() if pin.startswith(wanted))
    )
    return tmp_path / "requirements.lock"


def accepted(
    folder: Path, package: str = "ray", advisory: str = "CVE-2030-12345", date: str = "2026-11-25", reason: str = "ours"
) -> Path:
    entry = f'[[accepted]]\nadvisory = "{advisory}"\npackage = "{package}"\ndate = {date}\nreason = "{reason}"\n'
    (folder / "accepted.toml").write_text(entry)
    return folder / "accepted.toml"


def test_pins_without_known_vulnerabilities_pass(lock: Path, capfd: pytest.CaptureFixture[str]):
    with advisories() as source:
        assert audit(lock, ACCEPTED, [source]) == 0
    assert (
        capfd.readouterr().out == "pip-audit: 5 of 5 packages audited\nknown vulnerabilities: 0, accepted of them: 0\n"
    )


def test_a_known_vulnerability_fails_and_is_named_with_the_release_that_mends_it(lock: Path, capfd):
    with advisories(vulnerable=("ray",)) as source:
        assert audit(lock, ACCEPTED, [source]) == 1
    _, told, finding = capfd.readouterr().out.splitlines()
    assert told == "known vulnerabilities: 1, accepted of them: 0"
    assert finding.startswith("ray 2.")
    assert finding.endswith(": CVE-2030-12345, GHSA-aaaa-bbbb-cccc; fixed in 99.0")


@pytest.mark.parametrize("name", ["CVE-2030-12345", "GHSA-aaaa-bbbb-cccc"])
def test_an_accepted_one_passes_under_any_of_its_names(name: str, lock: Path, tmp_path: Path, capfd):
    with advisories(vulnerable=("ray",)) as source:
        assert audit(lock, accepted(tmp_path, advisory=name), [source]) == 0
    assert capfd.readouterr().out.endswith("known vulnerabilities: 1, accepted of them: 1\n")


def test_what_is_accepted_of_one_package_is_not_of_another(lock: Path, tmp_path: Path, capfd):
    with advisories(vulnerable=("ray", "mlflow")) as source:
        assert audit(lock, accepted(tmp_path), [source]) == 1
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()[2:]] == ["mlflow"]


def test_an_accepted_one_that_is_mended_is_to_be_taken_out(lock: Path, tmp_path: Path, capfd):
    with advisories() as source:
        assert audit(lock, accepted(tmp_path), [source]) == 0
    assert capfd.readouterr().out.endswith(
        "CVE-2030-12345 of ray is not found any more: take it out of accepted.toml\n"
    )


@pytest.mark.parametrize("spoiled", [{"reason": " "}, {"date": '"soon"'}, {"date": "2026-13-01"}])
def test_nothing_is_accepted_without_a_date_and_a_reason(spoiled: dict[str, str], lock: Path, tmp_path: Path, capfd):
    with advisories(vulnerable=("ray",)) as source:
        assert audit(lock, accepted(tmp_path, **spoiled), [source]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("accepted.toml: ")


@pytest.mark.parametrize("status", [404, 503])
def test_a_source_that_knows_nothing_is_one_line_and_no_failure(status: int, lock: Path, capfd):
    with advisories(status, vulnerable=("ray",)) as source:
        assert audit(lock, ACCEPTED, [source]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("pip-audit: nothing was audited (osv: ")


def test_no_network_is_one_line_and_no_failure(lock: Path, capfd, monkeypatch: pytest.MonkeyPatch):
    """Both sources, asked as `make audit` asks them, behind a proxy that is not there."""
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{closed_port()}")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    assert audit(lock, ACCEPTED) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("pip-audit: nothing was audited (pypi: ")
    assert "; osv: " in line


def test_an_endless_answer_is_not_waited_for(lock: Path, capfd):
    began = time.monotonic()
    with advisories(silent=True) as source:
        assert audit(lock, ACCEPTED, [source, source], seconds=3) == 0
    assert time.monotonic() - began < 10
    assert "no answer in 3 s" in capfd.readouterr().out


def test_another_source_is_asked_where_the_first_knows_nothing(lock: Path, capfd):
    with advisories(404) as first, advisories(vulnerable=("ray",)) as second:
        assert audit(lock, ACCEPTED, [first, second]) == 1
    assert "ray 2." in capfd.readouterr().out


def test_packages_that_an_index_does_not_know_are_named_and_the_others_count(capfd):
    """As pip-audit says it of an index without advisories."""
    skipped = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}
    hole = {"id": "PYSEC-2030-1", "fix_versions": [], "aliases": [], "description": "a hole"}
    known = {"name": "ray", "version": "2.60.0", "vulns": [hole]}
    assert verdict([skipped, known], []) == 1
    assert capfd.readouterr().out.splitlines() == [
        "pip-audit: 1 of 2 packages audited",
        "known vulnerabilities: 1, accepted of them: 0",
        "not audited: torch",
        "ray 2.60.0: PYSEC-2030-1; no release is without it",
    ]


def test_the_list_of_accepted_ones_is_about_packages_that_are_pinned():
    pinned = {pin.split("==")[0].lower() for pin in LOCK.read_text().split()}
    assert {package for package, _ in read_accepted(ACCEPTED)} <= pinned


def test_make_check_audits():
    said = subprocess.run(
        ["make", "--no-print-directory", "-n", "check"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == "python -m tests.audit"
