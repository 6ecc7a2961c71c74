"""pip-audit on requirements.lock: a known vulnerability fails, unless accepted.toml has it with a reason.

Where no source of advisories answers (an index of one's own without them, no network), nothing was audited: one line says
so, and that is no failure.
"""

import datetime
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
ACCEPTED = Path(__file__).with_name("accepted.toml")
SOURCES = (("--vulnerability-service", "pypi"), ("--vulnerability-service", "osv"))
SECONDS = 60


class NotAudited(Exception):
    """No source said anything about any package."""


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a pinned package; `names` are its identifiers, `fixed` the releases without it."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no release is without it"
        return f"{self.package} {self.version}: {', '.join(self.names)}; {mended}"


def audit(lock: Path, accepted: Path, sources: Sequence[Sequence[str]] = SOURCES, seconds: float = SECONDS) -> int:
    """Print what was found, a line each; the exit status: 0, 1 for vulnerabilities, 2 for an unfit list of accepted ones."""
    try:
        excused = list(read_accepted(accepted))
    except (KeyError, TypeError, ValueError) as error:
        print(f"{accepted.name}: {error}; each entry needs advisory, package, date and reason", file=sys.stderr)
        return 2
    try:
        packages = ask(lock, sources, seconds)
    except NotAudited as error:
        print(f"pip-audit: nothing was audited ({error})")
        return 0
    return verdict(packages, excused)


def read_accepted(file: Path) -> Iterator[tuple[str, str]]:
    """(package, advisory) of every accepted one.

    Raises:
        ValueError, KeyError, TypeError: no TOML, or an entry without date or reason.
    """
    for entry in tomllib.loads(file.read_text("utf-8")).get("accepted", []):
        if not isinstance(entry["date"], datetime.date) or not entry["reason"].strip():
            raise ValueError(f"{entry['advisory']} has no date, or no reason")
        yield entry["package"].lower(), entry["advisory"]


def ask(lock: Path, sources: Sequence[Sequence[str]], seconds: float) -> list[Mapping[str, Any]]:
    """What the first source that knows any of the lock's packages says of all of them.

    Raises:
        NotAudited: none does.
    """
    until, reasons = time.monotonic() + seconds, []
    for options in sources:
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", *options]
        try:
            left = max(until - time.monotonic(), 0.1)
            asked = subprocess.run(command, capture_output=True, text=True, timeout=left)
            packages = list(json.loads(asked.stdout)["dependencies"])
        except subprocess.TimeoutExpired:
            reasons.append(f"{options[1]}: no answer in {seconds:.0f} s")
        except json.JSONDecodeError:
            last = asked.stderr.strip().splitlines()[-1:] or [f"status {asked.returncode}"]
            reasons.append(f"{options[1]}: {last[0].split(':')[0]}")  # the rest is addresses
        else:
            if any("vulns" in package for package in packages):
                return packages
            reasons.append(f"{options[1]}: none of {len(packages)} packages is known there")
    raise NotAudited("; ".join(reasons))


def verdict(packages: Sequence[Mapping[str, Any]], accepted: Sequence[tuple[str, str]]) -> int:
    """Print what pip-audit says of the packages; 1 where a vulnerability is not accepted, else 0."""
    audited = [package for package in packages if "vulns" in package]
    found = [
        Finding(
            one["name"],
            one["version"],
            (vulnerability["id"], *vulnerability["aliases"]),
            tuple(vulnerability["fix_versions"]),
        )
        for one in audited
        for vulnerability in one["vulns"]
    ]
    passed = {
        (package, name)
        for package, name in accepted
        for one in found
        if one.package.lower() == package and name in one.names
    }
    open_ones = [one for one in found if not any((one.package.lower(), name) in passed for name in one.names)]
    print(f"pip-audit: {len(audited)} of {len(packages)} packages audited")
    print(f"known vulnerabilities: {len(found)}, accepted of them: {len(found) - len(open_ones)}")
    if skipped := [package["name"] for package in packages if "vulns" not in package]:
        print(f"not audited: {', '.join(skipped)}")
    for package, name in sorted(set(accepted) - passed):
        print(f"{name} of {package} is not found any more: take it out of {ACCEPTED.name}")
    for one in open_ones:
        print(one)
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(audit(LOCK, ACCEPTED))
