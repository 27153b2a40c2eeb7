"""The paper's own cases come out as printed."""

import pytest

from evaluation.paper_cases import leave_one_out_case, token_case


def test_leave_one_out_gives_2_and_2_and_leaves_38_with_the_provider():
    case = leave_one_out_case()
    assert case.charges == (2.0, 2.0)
    assert case.provider == 38.0


def test_shapley_of_the_same_case_shares_everything_beyond_idle_equally():
    case = leave_one_out_case()
    assert case.shapley == (6.0, 6.0)
    assert sum(case.shapley) + case.idle == 42.0


@pytest.mark.parametrize("tokens_a", [1.0, 64.0, 4808.0])
def test_the_token_example_gives_7_by_linearity_and_8_and_a_half_by_proportionality(tokens_a):
    case = token_case(tokens_a)
    assert case.by_linearity == 7.0
    assert case.by_proportionality == 8.5
