"""The calls of `import charrnn` that write: sample, and next_characters, which says what may come next."""

from collections.abc import Sequence
from typing import overload

from charrnn.errors import ConfigError
from charrnn.model.clamps import Clamp
from charrnn.model.parameters import Model
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
        From `load`.
    length : int
        Characters to draw, at least 1; bytes for a model of bytes.
    num_samples : int, optional
        How many texts to draw side by side. None returns one str.
    prime : str
        What the model reads first; it is not part of what is returned.
    stop : sequence of str
        A text ends before the first of these; one of a model of items at its END too.
    seed : int
        The same seed draws the same texts, for any number of samples and threads.
    clamps : sequence of Clamp
        Units to be held at a value meanwhile.
    temperature, top_k, top_p, min_p
        As for `charrnn sample`; temperature 0 always takes the likeliest character.
    encoding : str, optional
        Of a model of bytes: of `prime` and `stop`, and of the bytes it writes; None takes the run's. "latin-1" gives
        one character per byte, and `.encode("latin-1")` the bytes themselves.
    given : str, optional
        Of a model that follows labels: the label of the texts.

    Returns
    -------
    str, or list of str where `num_samples` is given

    Raises
    ------
    ConfigError
        A setting breaks its rule.
    VocabularyError
        A character of `prime` or `stop` is not in the model's vocabulary.

    Examples
    --------
    >>> import charrnn
    >>> text = charrnn.sample(charrnn.load("demo"), 40, prime="to be", temperature=0.8, seed=1)
    >>> len(text)
    40
    """
    vocabulary = model.vocabulary
    encoding = shown_encoding(model.training) if encoding is None else encoding_of_bytes(encoding)
    settings = Settings(temperature, top_k, top_p, min_p)
    number = 1 if num_samples is None else num_samples
    sampler = Sampler(model.for_drawing(), settings, seed=seed, num_samples=number, clamps=clamps)
    prime_ids = vocabulary.encode(prime, encoding)
    ends = stop_ids(vocabulary, [vocabulary.encode(string, encoding).tolist() for string in stop])
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
def next_characters(
    model: Model,
    prime: str | Sequence[str] = "",
    top_k: int | None = 10,
    *,
    clamps: Sequence[Clamp] = (),
    encoding: str | None = None,
    given: str | None = None,
) -> list[NextCharacter] | list[list[NextCharacter]]:
    """Say how likely each character is to come next, at temperature 1.

    Parameters
    ----------
    model : Model
        From `load`.
    prime : str or sequence of str
        What the model reads first; several are read side by side, and none changes what is found for another. An empty
        one is the beginning of a text.
    top_k : int, optional
        How many of the likeliest to return; None returns all.
    clamps, encoding, given
        As for `sample`.

    Returns
    -------
    list of NextCharacter, the likeliest first; a list of such lists where `prime` is a sequence
        Each with .symbol (the character; of a model of bytes the byte, an int; of a model of items also "END"), .id,
        .probability and .loss_nats.

    Raises
    ------
    ConfigError
        `top_k` is below 1.
    VocabularyError
        A character of `prime` is not in the model's vocabulary.

    Examples
    --------
    >>> import charrnn
    >>> model = charrnn.load("demo")
    >>> likeliest, second = charrnn.next_characters(model, "to be or not to", top_k=2)
    >>> likeliest.symbol, likeliest.probability > second.probability
    (' ', True)
    >>> [len(found) for found in charrnn.next_characters(model, ["to", "be"], top_k=None)]
    [16, 16]
    """
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k must be at least 1, got {top_k}: None returns every character", ["top_k"])
    vocabulary, label = model.vocabulary, label_of(model, given)
    encoding = shown_encoding(model.training) if encoding is None else encoding_of_bytes(encoding)
    primes = [prime] if isinstance(prime, str) else list(prime)
    texts = [first_ids(vocabulary, vocabulary.encode(text, encoding), label) for text in primes]
    found = [likeliest(vocabulary, log_p, top_k) for log_p in next_log_probabilities(model, texts, clamps)]
    return found[0] if isinstance(prime, str) else found
