"""What is installed is listed with its licence, and an audit that could not ask does not say that all is well."""

import json
import subprocess

from tools.audit import AUDITED, UNASKED, VULNERABLE, verdict
from tools.licences import rows, shipped

FORBIDDEN = ("GPL", "SSPL", "BUSL", "Commons Clause", "not stated")


def test_the_list_of_licences_is_that_of_the_lock_file() -> None:
    listed = {name: version for name, (version, _) in rows().items()}
    assert listed == {one.name: one.version for one in shipped()}, "run `make generate`"


def test_no_licence_asks_for_the_source_of_what_uses_it() -> None:
    for name, (_, licence) in rows().items():
        assert not any(word in licence for word in FORBIDDEN), f"{name}: {licence}"


def test_the_agent_brings_neither_worker_nor_database() -> None:
    agents = {one.name for one in shipped() if {"base", "agent"} & set(one.extras)}
    assert {"confluent-kafka", "nvidia-ml-py", "cryptography"} <= agents
    assert not agents & {"faust-streaming", "chdb", "clickhouse-connect", "pandas", "matplotlib", "numba"}


def answer(status: int, out: object, err: str = "") -> "subprocess.CompletedProcess[str]":
    text = out if isinstance(out, str) else json.dumps(out)
    return subprocess.CompletedProcess([], status, text, err)


def test_an_audit_tells_well_from_vulnerable_from_not_asked() -> None:
    well = {"dependencies": [{"name": "click", "version": "8.3.3", "vulns": []}]}
    flaw = {"id": "GHSA-1", "fix_versions": ["9"], "aliases": [], "description": ""}
    flawed = {"dependencies": [{"name": "click", "version": "8.3.3", "vulns": [flaw]}]}
    skipped = {"dependencies": [{"name": "click", "skip_reason": "unknown"}]}
    assert verdict(answer(0, well), "osv") == (
        AUDITED,
        "audited: 'osv' knows of no vulnerability in 1 locked packages",
    )
    status, said = verdict(answer(1, flawed), "osv")
    assert (status, "GHSA-1, fixed in 9" in said) == (VULNERABLE, True)
    for unasked in (
        answer(1, "", "ConnectionError: api.osv.dev"),
        answer(0, skipped),
        answer(0, {"dependencies": []}),
        answer(0, ""),
    ):
        status, said = verdict(unasked, "osv")
        assert status == UNASKED
        assert said.startswith("NOT AUDITED")
