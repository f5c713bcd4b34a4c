"""The verifier of matrices: what counts as the same, and what a share is worth."""

from __future__ import annotations

import pytest

from rlpipe.rewards.matrix import MatrixReward, final_answer


def reward(**settings) -> MatrixReward:
    return MatrixReward(MatrixReward.Config(name="matrix", **settings))


@pytest.mark.parametrize(
    ("said", "answer", "share"),
    [
        ("[[1, 2], [3, 4]]", "[[1, 2], [3, 4]]", 1),
        ("[[1, 2], [3, 5]]", "[[1, 2], [3, 4]]", 0.75),
        ("[[1, 2], [3, 4], [5, 6]]", "[[1, 2], [3, 4]]", 0),
        ("[[1, 2, 3], [4, 5, 6]]", "[[1, 2], [3, 4], [5, 6]]", 0),
        ("[1, 2, 3, 4]", "[[1, 2], [3, 4]]", 0),
        ("[1, 2]", "[[1], [2]]", 1),
        ("[[1], [2]]", "[1, 2]", 1),
        ("[[1], [3]]", "[1, 2]", 0.5),
        ("[1, 2, 2]", "[1, 2]", 0),
        ("[[5]]", "5", 1),
        ("5", 5, 1),
        ("0.1", 0.1, 1),
        ("0.333", "1/3", 0),
        ("[1/3, 2]", [["1/3"], [2]], 1),
    ],
)
def test_what_counts_as_the_same(finished, said, answer, share):
    for partial in (0.0, 0.4):
        [score] = reward(partial=partial).score([finished(f"<answer>{said}</answer>", answer=answer)])
        assert score.parts == {"entries": share}
        assert score.value == (1 if share == 1 else pytest.approx(partial * share))
        assert score.parsed


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>1</answer> <answer> 2 </answer>", "2"),
        (r"<answer>\boxed{\frac{1}{2}}</answer>", r"\frac{1}{2}"),
        (r"\boxed{1}, so <answer>2</answer>", "2"),
        (r"\boxed{1}, no: \boxed{\begin{pmatrix} 1 \end{pmatrix}}.", r"\begin{pmatrix} 1 \end{pmatrix}"),
        (r"\boxed{1", None),
        ("2", None),
    ],
)
def test_where_an_answer_stands(text, answer):
    assert final_answer(text) == answer


def test_answers_that_are_none_are_found_beforehand(finished):
    assert reward().unscorable({"answer": "many"}) == "no matrix in column 'answer'"
    assert reward().unscorable({"answer": " "}) == "nothing in column 'answer'"
    assert reward().unscorable({"answer": True}) == "no matrix in column 'answer'"
    assert reward().unscorable({"answer": [[1, 2], [3, 4.5]]}) is None
    with pytest.raises(ValueError, match="holds no matrix: 'many'"):
        reward().score([finished("<answer>1</answer>", answer="many")])
