"""The token rule on awkward tweets, the vocabulary, and word vectors against their formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.texts import text
from selffl_cli.errors import SelfflError

TRICKY = {
    "@user I can't": ["user", "i", "can't"],
    "http://twitpic.com/2y1zl - Awww": ["http", "twitpic", ".", "com", "2y1zl", "awww"],
    "don't 'quote' rock'n'roll": ["don't", "'quote'", "rock'n'roll"],
    "it’s": ["it", "s"],  # the typographic apostrophe is not in the rule
    "love 😀❤️ it": ["love", "it"],
    "&quot;hi&quot; &amp; &lt;3": ["quot", ";", "hi", "quot", ";", "amp", ";", "lt", ";", "3"],
    "what?!...": ["what", "?", "!", ".", ".", "."],
    "snake_case #hash-tag 50%": ["snake_case", "hash", "tag", "50"],
    "CAFÉ naïve": ["café", "naïve"],
    "İstanbul": ["i̇stanbul"],  # lower-casing makes two code points here, and still one token
    ":-( :)": [],
    "   ": [],
    "": [],
    "'": ["'"],
}


@pytest.mark.parametrize(("tweet", "tokens"), TRICKY.items())
def test_tokens_of_tricky_tweets(tweet: str, tokens: list[str]) -> None:
    assert text.tokenise(tweet) == tokens


def test_case_and_limit() -> None:
    assert text.tokenise("Good DAY", lower=False) == ["Good", "DAY"]
    assert text.tokenise("a " * 40) == ["a"] * 25
    assert text.tokenise("a b c d", limit=3) == ["a", "b", "c"]


@given(st.text(max_size=80))
def test_lower_casing_never_changes_the_number_of_tokens(tweet: str) -> None:
    kept, lowered = text.tokenise(tweet, lower=False), text.tokenise(tweet)
    assert [token.lower() for token in kept] == lowered
    assert not any(set(token) & set("<>\n ") for token in kept)


def test_encoder_pads_at_the_end() -> None:
    encoder = text.Encoder(limit=4)
    x = encoder.encode(["good good day", "", "bad day , really bad"])
    assert x.dtype == np.int32
    assert x.tolist() == [[2, 2, 3, 0], [0, 0, 0, 0], [4, 3, 5, 6]]
    assert encoder.words == ["<pad>", "<unk>", "good", "day", "bad", ",", "really"]


def test_vocabulary_comes_from_training_samples_only() -> None:
    encoder = text.Encoder(limit=4)
    x = encoder.encode(["day good good", "day ok", "secret secret secret"])
    kept = text.vocabulary(x[:2], len(encoder.words), min_count=2, max_words=9)
    assert [encoder.words[i] for i in kept] == ["day", "good"]
    assert text.vocabulary(x[:2], len(encoder.words), 1, 1).tolist() == kept[:1].tolist()
    assert text.reindex(x, len(encoder.words), kept).tolist() == [[2, 3, 3, 0], [2, 1, 0, 0], [1, 1, 1, 0]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5), min_size=1, max_size=8), st.integers(1, 6))
def test_ppmi_is_its_formula(rows: list[list[int]], window: int) -> None:
    x = np.array(rows, np.int32)
    counts = np.zeros((7, 7))
    for row in rows:
        for i, left in enumerate(row):
            for j, right in enumerate(row):
                if i != j and abs(i - j) <= window and left > 1 and right > 1:
                    counts[left, right] += 1
    found = text.cooccurrence(x, 7, window, chunk=3)
    np.testing.assert_array_equal(found.toarray(), counts)
    contexts = counts.sum(0) ** 0.75
    with np.errstate(all="ignore"):
        p = counts / counts.sum()
        pmi = np.log(p / (counts.sum(1) / counts.sum())[:, None] / (contexts / contexts.sum())[None])
    expected = np.where(counts > 0, np.maximum(pmi, 0), 0)
    np.testing.assert_allclose(text.ppmi(found).toarray(), expected, atol=1e-12)


def test_word_vectors_put_words_of_like_contexts_together() -> None:
    rng = np.random.default_rng(0)
    encoder = text.Encoder(limit=4)
    topics = [["cat", "dog", "purr", "bark"], ["rain", "sun", "wind", "snow"]]
    x = encoder.encode(" ".join(rng.permutation(topics[i % 2])) for i in range(200))
    vectors = text.word_vectors(x, len(encoder.words), 3, seed=0)
    assert vectors.shape == (10, 3) and vectors.dtype == np.float32
    assert not vectors[:2].any()
    assert np.sqrt((vectors[2:] ** 2).mean()) == pytest.approx(text.SCALE, rel=1e-5)
    unit = vectors[2:] / np.linalg.norm(vectors[2:], axis=1, keepdims=True)
    alike = unit @ unit.T
    topic = np.array([encoder.words[i] in topics[0] for i in range(2, 10)])
    same = topic[:, None] == topic[None]
    assert alike[same].min() > alike[~same].max()


def test_word_vectors_are_the_same_for_a_seed_and_finite_on_thin_data() -> None:
    x = np.random.default_rng(1).integers(0, 50, (100, 6)).astype(np.int32)
    np.testing.assert_array_equal(text.word_vectors(x, 50, 8, 3), text.word_vectors(x, 50, 8, 3))
    for thin in (
        np.zeros((3, 6), np.int32),
        np.array([[2, 0, 0]], np.int32),
        np.array([[2, 3, 0]], np.int32),
    ):
        vectors = text.word_vectors(thin, 4, 8, 0)
        assert vectors.shape == (4, 8) and np.isfinite(vectors).all()


def test_embeddings_file(tmp_path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("2 3\ncat 1 2 3\n. . 1 2 3\ndog 4 5 6.5\n")
    found = text.read_embeddings(path, ["dog", "cow"], 3)
    assert list(found) == ["dog"] and found["dog"].tolist() == [4, 5, 6.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat 1 2 3 4\n", "line 1 has 4 numbers where 3 are expected"),
        ("cat 1 2 3\ndog 1 2\n", "line 2 has 2 numbers where 3 are expected"),
        ("cat 1 2 3\ndog 1 2 3 4\n", "line 2 has 4 numbers where 3 are expected"),
        ("cat 1 2 3\n\ndog 1 2 3\n", "line 2 has 0 numbers"),
        ("cat 1 2 3\ndog 1 x 3\n", "line 2 holds something that is no number"),
        ("dog 1 nan 3\n", "line 1 holds a number that is not finite"),
        ("dog 1 1e400 3\n", "not finite"),
        ("", "holds no word vectors"),
    ],
)
def test_bad_embeddings_file(tmp_path, content: str, message: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(content)
    with pytest.raises(SelfflError, match=message):
        text.read_embeddings(path, ["dog"], 3)


def test_missing_embeddings_file(tmp_path) -> None:
    with pytest.raises(SelfflError, match="cannot be read"):
        text.read_embeddings(tmp_path / "none.txt", ["dog"], 3)
