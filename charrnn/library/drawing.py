"""The calls of `import charrnn` that draw text: sample, and next_characters, which gives the probabilities."""

from collections.abc import Sequence
from typing import overload

from charrnn.errors import ConfigError, check_integer
from charrnn.library.arguments import as_strings, check_string, naming_keywords
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model, check_model
from charrnn.sampling.following import NextCharacter, likeliest, next_log_probabilities
from charrnn.sampling.priming import first_ids, label_of, stop_ids
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.text.decoding import encoding_of_bytes
from charrnn.training.stored import shown_encoding


@overload
def sample(  # noqa: PLR0913 - as below
    model: Model,
    length: int = ...,
    *,
    num_samples: None = ...,
    prime: str = ...,
    stop: Sequence[str] = ...,
    seed: int = ...,
    clamps: Sequence[Clamp] = ...,
    temperature: float = ...,
    top_k: int | None = ...,
    top_p: float = ...,
    min_p: float = ...,
    encoding: str | None = ...,
    given: str | None = ...,
) -> str: ...
@overload
def sample(  # noqa: PLR0913 - as below
    model: Model,
    length: int = ...,
    *,
    num_samples: int,
    prime: str = ...,
    stop: Sequence[str] = ...,
    seed: int = ...,
    clamps: Sequence[Clamp] = ...,
    temperature: float = ...,
    top_k: int | None = ...,
    top_p: float = ...,
    min_p: float = ...,
    encoding: str | None = ...,
    given: str | None = ...,
) -> list[str]: ...
@naming_keywords()
def sample(  # noqa: PLR0913 - all but two are settings of the draw, named by keyword
    model: Model,
    length: int = 300,
    *,
    num_samples: int | None = None,
    prime: str = "",
    stop: Sequence[str] = (),
    seed: int = 0,
    clamps: Sequence[Clamp] = (),
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    encoding: str | None = None,
    given: str | None = None,
) -> str | list[str]:
    """Draw new text from a model.

    Parameters
    ----------
    model : Model
        A model from `load`.
    length : int
        Number of characters to draw (bytes, for a byte model), at least 1.
    num_samples : int, optional
        Number of texts to draw in parallel, at least 1. None draws one text and returns a str instead of a list.
    prime : str
        Text that the model reads before it draws; the result does not include it. After an empty `prime`, a model of
        items begins a new item; other models begin after a newline, or with a random character if they know no newline.
    stop : sequence of str
        Strings that end a text. The text ends before the first one that is drawn, and may then be shorter than
        `length`. A model of items also ends a text at the end of an item.
    seed : int
        Seed of the random numbers, in 0 .. 2**64 - 1. Text number j depends on the seed and on j, but not on
        `num_samples` or on the number of threads.
    clamps : sequence of Clamp
        Units that are held at a fixed value while the model reads and draws.
    temperature : float
        Divide the logits by this number, at least 0. Below 1 the text becomes more predictable; 0 always takes the most
        probable character.
    top_k : int, optional
        Draw only from the `top_k` most probable characters, at least 1; None draws from all.
    top_p : float
        Then draw only from the smallest set of most probable characters whose probabilities add up to at least `top_p`,
        above 0 and at most 1; 1 keeps all.
    min_p : float
        Then drop characters that are less than `min_p` times as probable as the most probable one; in 0 .. 1.
    encoding : str, optional
        For a byte model: the encoding of `prime`, `stop` and the drawn bytes; None means the encoding of the training
        text. "latin-1" returns one character per byte, so that `.encode("latin-1")` gives the drawn bytes. Bytes that
        are invalid in the encoding become U+FFFD. A model of characters ignores this argument.
    given : str, optional
        For a model that writes texts for a label: the label. Such a model needs it; no other model accepts it.

    Returns
    -------
    str or list of str
        One str if `num_samples` is None, otherwise a list of `num_samples` str.

    Raises
    ------
    ConfigError
        An argument has a value that is not allowed, or the model is one that predicts labels or translates.
    VocabularyError
        A character of `prime` or `stop` is not in the model's vocabulary, or `given` is not one of its labels.
    CorpusError
        `encoding` is not the name of an encoding.
    DivergenceError
        The logits are not finite numbers: the model is damaged.

    Examples
    --------
    >>> import charrnn
    >>> text = charrnn.sample(charrnn.load("demo"), 40, prime="to be", temperature=0.8, seed=1)
    >>> len(text)
    40
    """
    check_model(model)
    check_string("prime", prime)
    vocabulary = model.vocabulary
    encoding = shown_encoding(model.training) if encoding is None else encoding_of_bytes(encoding)
    settings = Settings(temperature, top_k, top_p, min_p)
    number = 1 if num_samples is None else num_samples
    sampler = Sampler(model.for_drawing(), settings, seed=seed, num_samples=number, clamps=clamps)
    prime_ids = vocabulary.encode(prime, encoding)
    ends = stop_ids(vocabulary, [vocabulary.encode(string, encoding).tolist() for string in as_strings("stop", stop)])
    sampler.prime(first_ids(vocabulary, prime_ids, label_of(model, given)))
    drawn: list[list[int]] = [[] for _ in range(sampler.num_samples)]
    for block in sampler.generate(length, ends):
        for ids, new in zip(drawn, block.ids):
            ids.extend(new.tolist())
    texts = [vocabulary.decode(ids, encoding) for ids in drawn]
    return texts[0] if num_samples is None else texts


@overload
def next_characters(
    model: Model,
    prime: str = ...,
    top_k: int | None = ...,
    *,
    clamps: Sequence[Clamp] = ...,
    encoding: str | None = ...,
    given: str | None = ...,
) -> list[NextCharacter]: ...
@overload
def next_characters(
    model: Model,
    prime: Sequence[str],
    top_k: int | None = ...,
    *,
    clamps: Sequence[Clamp] = ...,
    encoding: str | None = ...,
    given: str | None = ...,
) -> list[list[NextCharacter]]: ...
@naming_keywords()
def next_characters(
    model: Model,
    prime: str | Sequence[str] = "",
    top_k: int | None = 10,
    *,
    clamps: Sequence[Clamp] = (),
    encoding: str | None = None,
    given: str | None = None,
) -> list[NextCharacter] | list[list[NextCharacter]]:
    """Return the most probable next characters after a text, with their probabilities at temperature 1.

    Parameters
    ----------
    model : Model
        A model from `load`.
    prime : str or sequence of str
        Text that the model reads first, or several such texts. Several texts are read as one batch; the result for each
        is the same as if it were read alone. After an empty text, the result is for the beginning of a text.
    top_k : int, optional
        Number of characters to return, at least 1; None returns all of the vocabulary.
    clamps, encoding, given
        As for `sample`.

    Returns
    -------
    list of NextCharacter, or list of such lists
        The most probable character first. If `prime` is a sequence of texts, the result has one list for each text.

    Raises
    ------
    ConfigError
        `top_k` is below 1, a clamp does not fit the model, or `given` is missing or not accepted.
    VocabularyError
        A character of `prime` is not in the model's vocabulary, or `given` is not one of its labels.
    CorpusError
        `encoding` is not the name of an encoding.
    DivergenceError
        The logits are not finite numbers: the model is damaged.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.load("demo")
    >>> first, second = charrnn.next_characters(model, "to be or not to", top_k=2)
    >>> first.symbol, first.probability > second.probability
    (' ', True)
    >>> [len(found) for found in charrnn.next_characters(model, ["to", "be"], top_k=None)]
    [16, 16]
    """
    check_model(model)
    if top_k is not None:
        check_integer("top_k", top_k)
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k must be at least 1, got {top_k}: None returns every character", ["top_k"])
    vocabulary, label = model.vocabulary, label_of(model, given)
    encoding = shown_encoding(model.training) if encoding is None else encoding_of_bytes(encoding)
    primes = [prime] if isinstance(prime, str) else as_strings("prime", prime)
    texts = [first_ids(vocabulary, vocabulary.encode(text, encoding), label) for text in primes]
    found = [likeliest(vocabulary, log_p, top_k) for log_p in next_log_probabilities(model, texts, clamps)]
    return found[0] if isinstance(prime, str) else found
