"""What an error carries, and how a message counts."""

import pickle

from charrnn.errors import CharRNNError, ConfigError, counted


def test_an_error_of_options_carries_their_names_also_through_a_pickle():
    error = ConfigError("--steps must be at least 1, got 0", ["steps"])
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert isinstance(one, CharRNNError) and one.options == ("steps",) and str(one) == str(error)
    assert ConfigError("the signal is not a valid regular expression").options == ()


def test_one_is_no_plural_and_large_counts_have_commas():
    assert [counted(number, "step") for number in (0, 1, 1.0, 2, 12345, 0.5)] == [
        "0 steps",
        "1 step",
        "1 step",
        "2 steps",
        "12,345 steps",
        "0.5 steps",
    ]
