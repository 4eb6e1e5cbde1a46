"""Common beginnings are laid once, and neither scores nor gradients change."""

import pytest

from tunebridge.data.rendering.render import RenderedRow

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.training.test_flat import CPU, FLOAT32, gradients, make_model, plain_loss  # noqa: E402
from tunebridge.training import attention, models  # noqa: E402
from tunebridge.training.head import token_losses  # noqa: E402
from tunebridge.training.packing import flatten  # noqa: E402
from tunebridge.training.rows import Unit  # noqa: E402
from tunebridge.training.sharing import MIN_SHARED_TOKENS, share  # noqa: E402

SYSTEM, QUESTION = list(range(3, 43)), list(range(50, 80))
ROWS = [
    SYSTEM + QUESTION + [90, 91, 92],
    SYSTEM + QUESTION + [93, 94],
    SYSTEM + [81, 82, 83, 84],
    [85, 86, 87, 88, 89],
    SYSTEM + QUESTION,
    SYSTEM + QUESTION + [90, 91, 92],
    [*SYSTEM[:10], 7, 7],
    [3 + number % 90 for number in range(400)],
]
"""A tree of two levels, a row that is another's beginning, one that is there twice, a long one and lone ones."""


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 1), max_size=40)), min_size=1, max_size=12))
@settings(deadline=None)
def test_every_row_can_be_read_from_its_pieces(drawn: list[tuple[int, list[int]]]) -> None:
    rows = [[7] * (MIN_SHARED_TOKENS * depth) + [8, *ending] for depth, ending in drawn]
    shared = share(rows)
    flat: dict[int, int] = {}
    for row, path in zip(rows, shared.paths, strict=True):
        read: list[int] = []
        for piece in path:
            assert piece.before == path[: path.index(piece)]
            assert piece.offset == len(read)
            tokens = row[piece.offset : piece.offset + piece.length]
            for place, token in zip(range(piece.start, piece.start + piece.length), tokens, strict=True):
                assert flat.setdefault(place, token) == token
            read += tokens
        assert read == row
    assert sorted(flat) == list(range(sum(piece.length for piece in shared.pieces)))


def test_common_beginnings_lie_once() -> None:
    shared = share(ROWS)
    assert sum(piece.length for piece in shared.pieces) == 40 + 30 + 3 + 3 + 2 + 4 + 5 + 12 + (400 - 40)
    assert shared.paths[4] == shared.paths[0][:2]


@pytest.mark.parametrize(
    "changes", [{}, {"num_key_value_heads": 2}, {"model_type": "mistral", "sliding_window": 16}], ids=str
)
def test_losses_and_gradients_are_those_of_rows_alone(changes: dict[str, object]) -> None:
    model = make_model(**changes)
    rows = [RenderedRow(ids, [place % 4 != 1 for place in range(len(ids))]) for ids in ROWS]
    losses = [plain_loss(model, row) for row in rows]
    torch.stack(losses).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    attention.use(model)
    batch = flatten([Unit((row,)) for row in rows], CPU)
    assert batch.tokens < sum(len(ids) for ids in ROWS) - 150
    found = token_losses(model, batch, FLOAT32)
    found.sum().backward()
    for owner, loss in enumerate(losses):
        assert found[batch.owners == owner].sum().item() == pytest.approx(loss.item(), rel=1e-4)
    for name, gradient in gradients(model).items():
        assert (gradient - expected[name]).norm() <= 1e-4 * expected[name].norm() + 1e-6, name


def test_rows_with_nothing_in_common_keep_their_order() -> None:
    tokenizer = models.load_tokenizer("tunebridge/nano")
    rows = [RenderedRow(tokenizer(text)["input_ids"], [True] * len(tokenizer(text)["input_ids"])) for text in "cab"]
    batch = flatten([Unit((row,)) for row in rows], CPU)
    assert batch.token_ids[0].tolist() == [token for row in rows for token in row.token_ids]
