"""Compiled kernels: every @njit function and all LLVM IR of charrnn. NumPy arrays in, NumPy arrays out.

The alphabet, used in every module here:

    B  parallel streams (batch)      T  characters in a chunk      V  vocabulary size
    D  input size of a layer         H  hidden size                L  layers
    G  gates: rnn 1, gru 3, lstm 4   R  rows of a chunk, T*B

    P  panels of a layer             W  columns of a panel         Q  panels of the output layer

This room knows no file, no model and no option. Kernels trust their arguments: the room model/
validates once, at its boundary.
"""

from charrnn.kernels.threads import max_threads, num_threads, set_num_threads

__all__ = ["max_threads", "num_threads", "set_num_threads"]
