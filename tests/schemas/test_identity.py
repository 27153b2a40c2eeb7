"""Batch ids and seeds: the same content gives the same name on every machine, other content another."""

from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.identity import batch_id, seed

TEXTS = st.text(alphabet="ab/,\x00", max_size=4)
INPUTS = st.tuples(TEXTS, st.lists(TEXTS, max_size=3), st.integers(0, 2), st.integers(0, 2**62))


def test_a_batch_id_never_changes_between_releases():
    assert batch_id("eu/n1/a", ["17-ab", "18-cd"], 5_000_000_000, 10_000_000_000) == (
        "955e19562276b85a53efe759d06dd8e7"
    )
    assert batch_id("", [], 0, 0) == "7d8fab01c4c57c4096468db185215b8f"


def test_a_seed_never_changes_between_releases():
    assert seed("00112233445566778899aabbccddeeff") == 8120679895543458511


@given(INPUTS, INPUTS)
def test_different_content_has_different_ids(one, other):
    """Also where texts run together: ("a", "b") is not ("ab", "")."""
    assume((one[0], sorted(one[1]), *one[2:]) != (other[0], sorted(other[1]), *other[2:]))
    assert batch_id(*one) != batch_id(*other)


@given(st.lists(TEXTS, max_size=4).flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_the_order_of_incarnations_does_not_matter(names):
    first, second = names
    assert batch_id("g", first, 1, 2) == batch_id("g", second, 1, 2)


@given(INPUTS)
def test_ids_are_32_hex_digits_and_seeds_64_bits(content):
    batch = batch_id(*content)
    assert len(batch) == 32
    assert set(batch) <= set("0123456789abcdef")
    assert 0 <= seed(batch) < 2**64
