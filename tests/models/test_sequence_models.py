"""Networks over sequences: what may depend on what, and that they learn."""

from __future__ import annotations

import numpy as np
import pytest
from ringleader.models import build
from ringleader.models.attention import Attention
from ringleader.models.recurrent import RecurrentLM
from ringleader.models.seq2seq import Seq2Seq
from ringleader.models.transformer import Transformer
from ringleader.runtime.autograd import Adam, Tensor, cross_entropy
from ringleader.runtime.training import Description

TOKENS = 7
TEXT = Description("language modelling", (9,), TOKENS)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(1, TOKENS, shape)


def language_model(name: str, **sizes: object):
    return build(name, np.random.default_rng(3), np.float64, TEXT, width=8, **sizes)


@pytest.mark.parametrize("sizes", [{"layers": 1}, {"layers": 2}])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "learned", "rotary"])
def test_logits_depend_on_all_tokens_before_and_none_after(name, sizes):
    kind, more = (
        (name, {}) if name in ("rnn", "lstm", "gru") else ("transformer", {"positions": name, "heads": 2})
    )
    model = language_model(kind, **sizes, **more)
    for parameter in model.parameters():  # far from zero, so that all that depends is seen to
        parameter.data[...] = np.random.default_rng(parameter.size).normal(0, 0.5, parameter.shape)
    x = draw(2, 9)
    before = model(Tensor(x)).data
    assert before.shape == (2, 9, TOKENS)
    for at in range(9):
        other = x.copy()
        other[:, at] = other[:, at] % (TOKENS - 1) + 1
        same = np.isclose(model(Tensor(other)).data, before, rtol=1e-12, atol=1e-12).all(axis=(0, 2))
        assert same.tolist() == [t < at for t in range(9)]


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_recurrent_model_goes_on_from_its_state(kind):
    model, x = language_model(kind, layers=2), draw(3, 9)
    whole, state, parts = model(Tensor(x)).data, model.start(), []
    for at in range(0, 9, 3):
        logits, state = model.read(Tensor(x[:, at : at + 3]), state)
        parts.append(logits.data)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12)
    state = model.start()
    for at in range(9):
        logits, state = model.step(x[:, at], state)
        np.testing.assert_allclose(logits.data, whole[:, at], rtol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_units_start_with_memories_of_all_lengths_up_to_the_one_asked_for(kind):
    """A state that nothing changes fades by a factor of sigmoid(bias) a step: to 1/e in 1 / -log of it steps."""
    plain, model = (language_model(kind, layers=2, memory=memory).recurrent for memory in (0, 100))
    for layer in range(2):
        bias = getattr(model, f"bias_ih_l{layer}").data
        stays = bias[8:16]
        steps = 1 / np.log1p(np.exp(-stays))
        assert 1 < steps.min() < 30
        assert 60 < steps.max() < 100
        if kind == "lstm":
            np.testing.assert_array_equal(bias[:8], -stays)
            np.testing.assert_array_equal(getattr(plain, f"bias_ih_l{layer}").data[8:16], 1)
    np.testing.assert_array_equal(model.weight_ih_l0.data, plain.weight_ih_l0.data)


def test_padding_of_a_source_changes_nothing():
    model = Seq2Seq(TOKENS, 12, 2, 2, 8, generator=np.random.default_rng(0), dtype=np.float64)
    source, target = draw(2, 5), draw(2, 4)
    padded = np.concatenate([source, np.zeros((2, 3), np.int64)], axis=1)
    plain = model(Tensor(source), Tensor(target)).data
    np.testing.assert_allclose(model(Tensor(padded), Tensor(target)).data, plain, rtol=1e-10)
    later = target.copy()
    later[:, -1] = later[:, -1] % (TOKENS - 1) + 1
    changed = model(Tensor(source), Tensor(later)).data
    np.testing.assert_allclose(changed[:, :-1], plain[:, :-1], rtol=1e-12)


def test_seq2seq_learns_to_reverse_and_translates():
    model = Seq2Seq(TOKENS, 4, 1, 2, 32, generator=np.random.default_rng(0))
    optimizer, rng = Adam(model.parameters(), 5e-3), np.random.default_rng(1)
    for _ in range(200):  # with twice that rate some seeds fail
        source = rng.integers(2, TOKENS, (64, 3))
        said = source[:, ::-1].copy()
        seen = np.concatenate([np.ones((64, 1), np.int64), said[:, :-1]], axis=1)
        model.zero_grad()
        logits = model(Tensor(source), Tensor(seen))
        cross_entropy(logits.reshape(-1, TOKENS), said.reshape(-1)).backward()
        optimizer.step()
    source = draw(20, 3) % 5 + 2
    assert (model.translate(source, 1, 3) == source[:, ::-1]).mean() > 0.95


def test_what_does_not_fit_is_refused():
    made = {"generator": np.random.default_rng(0)}
    with pytest.raises(ValueError, match="width 9 must be a multiple of heads 2"):
        Attention(9, 2, **made)
    for kind, memory in (("rnn", 9), ("lstm", 1), ("gru", -3)):
        with pytest.raises(
            ValueError, match=f"memory {memory} of {kind}: it is for lstm and gru, at least 2"
        ):
            RecurrentLM(kind, TOKENS, 4, 4, memory=memory, **made)
    with pytest.raises(ValueError, match="unknown positions 'sine'; known: learned, rotary"):
        Transformer(5, positions="sine", **made)
    with pytest.raises(ValueError, match="5 tokens, but context is 4"):
        Transformer(TOKENS, 4, 1, 1, 4, **made)(Tensor(draw(1, 5)))
    with pytest.raises(ValueError, match="5 tokens, but context is 4"):
        Seq2Seq(TOKENS, 4, 1, 1, 4, **made)(Tensor(draw(1, 5)), Tensor(draw(1, 2)))
