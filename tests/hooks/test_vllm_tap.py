"""When a pass of vLLM ran: one pipeline has no pauses while requests run, several overlap; dummies have no rows."""

from types import SimpleNamespace

from producers.hooks.settings import HookSettings
from producers.hooks.vllm_tap import VllmPass, VllmTranslator, settle
from schemas.iterations import DUMMY

MS = 1_000_000


def passed(*, continues: bool) -> VllmPass:
    return VllmPass(batch={"a": 1}, total=1, emitted=None, continues=continues)


def test_a_single_pipelines_passes_touch_while_requests_run() -> None:
    translator = VllmTranslator(HookSettings(), overlapping=False)
    first = translator.step(passed(continues=True), 10 * MS, 40 * MS)
    assert translator.held_from() == 40 * MS
    # Scheduled ahead (asynchronous), or a moment later: it ran from the end of the one before.
    ahead = translator.step(passed(continues=True), 20 * MS, 70 * MS)
    later = translator.step(passed(continues=False), 72 * MS, 100 * MS)
    assert [(s.start_ns, s.end_ns) for s in (first, ahead, later)] == [
        (10 * MS, 40 * MS), (40 * MS, 70 * MS), (70 * MS, 100 * MS),
    ]  # fmt: skip


def test_after_a_pause_a_pass_starts_when_it_was_scheduled() -> None:
    translator = VllmTranslator(HookSettings(), overlapping=False)
    translator.step(passed(continues=False), 10 * MS, 40 * MS)
    assert translator.held_from() is None
    assert translator.step(passed(continues=True), 90 * MS, 120 * MS).start_ns == 90 * MS


def test_a_schedule_call_without_tokens_ends_the_run() -> None:
    translator = VllmTranslator(HookSettings(), overlapping=False)
    translator.step(passed(continues=True), 10 * MS, 40 * MS)
    nothing = translator.step(VllmPass(finished={"a"}), 41 * MS, 41 * MS)
    assert (nothing.start_ns, nothing.end_ns, set(nothing.finished)) == (41 * MS, 41 * MS, {"a"})
    assert translator.step(passed(continues=True), 90 * MS, 120 * MS).start_ns == 90 * MS


def test_pipeline_parallel_passes_overlap_and_keep_their_starts() -> None:
    translator = VllmTranslator(HookSettings(), overlapping=True)
    steps = [translator.step(passed(continues=True), start * MS, (start + 30) * MS) for start in (10, 20, 30)]
    assert [step.start_ns for step in steps] == [10 * MS, 20 * MS, 30 * MS]
    assert translator.held_from() is None


def test_a_dummy_batch_is_an_iteration_without_rows() -> None:
    translator = VllmTranslator(HookSettings(), overlapping=False)
    step = translator.step(VllmPass(kind=DUMMY), 10 * MS, 40 * MS)
    assert (step.kind, dict(step.new_tokens), step.end_ns - step.start_ns) == (DUMMY, {}, 30 * MS)


def test_graph_padding_drafts_and_deliveries_are_taken_from_the_outputs() -> None:
    subject = VllmPass(batch={"a": 4, "b": 1}, total=5, drafts={"a": 3})
    output = SimpleNamespace(
        sampled_token_ids=[[1, 2], [3]],
        req_id_to_index={"a": 0, "b": 1},
        cudagraph_stats=SimpleNamespace(num_padded_tokens=8),
    )
    item = SimpleNamespace
    delivered = {0: item(outputs=[item(request_id="a", new_token_ids=[1, 2])]), 1: item(outputs=[])}
    settle(subject, output, delivered, continues=True)
    assert (subject.rejected, subject.emitted, subject.padded) == ({"a": 2}, {"a": 2}, 8)
