"""A vLLM whose fields the hook does not know is refused with the tested range, and goes on without it."""

import logging

import pytest

from producers.hooks import vllm as plugin


def test_a_version_that_lacks_a_field_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {**plugin.FIELDS, "SchedulerOutput": ("num_scheduled_tokens", "renamed_in_the_future")}
    monkeypatch.setattr(plugin, "FIELDS", fields)
    # Classes are wrapped once per process, and the other tests need them wrapped in earnest.
    monkeypatch.setattr(plugin, "wrap_engine", lambda taps: None)
    with caplog.at_level(logging.ERROR):
        assert plugin.VllmHook().install() is False
    assert "SchedulerOutput.renamed_in_the_future" in caplog.text
    assert "Tested with vLLM 0.32.0" in caplog.text


def test_this_version_lacks_nothing() -> None:
    assert plugin.missing_fields() == []


@pytest.mark.parametrize(
    ("engine", "client"),
    [
        ("cmpl-req-abc-0-a0d0bc47", "cmpl-req-abc"),
        ("chatcmpl-9f-a0d0bc47", "chatcmpl-9f"),
        ("1_chatcmpl-9f-a0d0bc47", "chatcmpl-9f"),
        ("7-a0d0bc47", "7"),
    ],
)
def test_a_client_knows_its_request_by_the_id_of_the_response(engine: str, client: str) -> None:
    from producers.hooks.vllm_tap import client_id

    assert client_id(engine) == client
