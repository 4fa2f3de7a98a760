"""charrnn: train, sample and look inside character-level RNN, LSTM and GRU language models on a CPU."""

__version__ = "0.2.0"
