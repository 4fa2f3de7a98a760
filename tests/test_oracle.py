"""The oracle itself, held to PyTorch's modules and autograd, to finite differences and to literal numbers."""

import numpy as np
import oracle
import pytest

from charrnn.spec import CELLS

B, T, E, H, V = 2, 3, 4, 5, 7
INPUTS = {"onehot": {}, "embedding": {"E": E}, "tied": {"E": H, "tied": True}}


def test_splitmix64_gives_its_published_sequence():
    """Seed 1234567 in Vigna's splitmix64.c; the state advances by the constant that each call adds."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = [(1234567 + k * 0x9E3779B97F4A7C15) & oracle.M64 for k in range(4)]
    assert [oracle.splitmix64(z) for z in states] == published


def test_dropout_mask_keeps_the_asked_share_and_scales_by_it():
    """10,800 draws at rate 0.3: the share kept has a standard deviation of 0.0044; four of them are allowed."""
    mask = oracle.dropout_mask(oracle.Dropout(0.3, False, 1), 5, 1, 12, 30, 30)
    assert abs((mask > 0).mean() - 0.7) < 0.018
    assert set(np.unique(mask)) == {0.0, 1 / 0.7}


def test_dropout_mask_depends_on_seed_step_layer_row_and_unit():
    one = oracle.dropout_mask(oracle.Dropout(0.5, False, 1), 5, 1, 4, 6, 20)
    for seed, step, layer in [(2, 5, 1), (1, 6, 1), (1, 5, 0)]:
        other = oracle.dropout_mask(oracle.Dropout(0.5, False, seed), step, layer, 4, 6, 20)
        assert 0.3 < (one != other).mean() < 0.7
    rows = one.reshape(24, 20)
    assert len(np.unique(rows, axis=0)) == 24 and len(np.unique(rows, axis=1).T) == 20


def test_variational_mask_is_the_first_step_of_the_plain_one():
    plain = oracle.dropout_mask(oracle.Dropout(0.5, False, 3), 2, 0, T, B, H)
    shared = oracle.dropout_mask(oracle.Dropout(0.5, True, 3), 2, 0, T, B, H)
    assert (shared == plain[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [None, oracle.Dropout(0.4, False, 11), oracle.Dropout(0.4, True, 11)])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_oracle_gradients_equal_finite_differences(cell, inputs, dropout):
    """Every entry of every tensor; a five-point difference at 1e-3 is good to 1e-11 absolute on a loss near 2."""
    parameters = oracle.random_parameters(cell, V, H, 2, seed=1, **INPUTS[inputs])
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry = oracle.random_carry(cell, 2, B, H, seed=3)
    result = oracle.loss_and_grads(parameters, cell, x, y, carry, dropout, step=7)

    def loss():
        return oracle.losses_nats(oracle.forward(parameters, cell, x, carry, dropout, step=7).logits, y).mean()

    for tensors, grads in ((parameters, result.grads), (carry, result.carry_grads)):
        for name, value in tensors.items():
            for where in np.random.default_rng(4).permutation(value.size)[:6]:
                numeric = five_point(loss, value.reshape(-1), where)
                assert abs(numeric - grads[name].reshape(-1)[where]) < 1e-10, (name, where)


def five_point(loss, flat, where, eps=1e-3):
    kept, values = flat[where], []
    for k in (-2, -1, 1, 2):
        flat[where] = kept + k * eps
        values.append(loss())
    flat[where] = kept
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * eps)


@pytest.mark.torch
@pytest.mark.parametrize("dropout", [None, oracle.Dropout(0.4, False, 11)])
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if cell.torch_class])
def test_oracle_equals_pytorch(cell, inputs, dropout):
    """PyTorch's own one-layer modules with the oracle's masks between; bias_hh is drawn too: the oracle knows both."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    parameters = oracle.random_parameters(cell, V, H, 3, seed=1, **INPUTS[inputs])
    parameters = {name: rng.uniform(-1, 1, value.shape) for name, value in parameters.items()}
    x, y = oracle.random_chunk(V, T, B, seed=2)
    carry = oracle.random_carry(cell, 3, B, H, seed=3)
    ours = oracle.loss_and_grads(parameters, cell, x, y, carry, dropout, step=7)

    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    starts = {part: torch.tensor(value, requires_grad=True) for part, value in carry.items()}
    table = leaves.get("embedding.weight", torch.eye(V, dtype=torch.float64))
    up = torch.nn.functional.embedding(torch.tensor(x, dtype=torch.long), table)
    kind = getattr(torch.nn, CELLS[cell].torch_class)
    for l in range(3):
        module = kind(up.shape[2], H, dtype=torch.float64)
        start = tuple(starts[part][l : l + 1] for part in oracle.CELLS[cell].carried)
        own = dict(zip(oracle.layer_names(0), (leaves[name] for name in oracle.layer_names(l))))
        own = {name.removeprefix("rnn."): leaf for name, leaf in own.items()}
        h, out = torch.func.functional_call(module, own, (up, start if len(start) > 1 else start[0]))
        for part, value in zip(oracle.CELLS[cell].carried, out if len(start) > 1 else (out,)):
            np.testing.assert_allclose(ours.carry[part][l], value[0].detach(), rtol=0, atol=1e-13)
        up = h * torch.tensor(oracle.dropout_mask(dropout, 7, l, T, B, H))
    logits = up @ leaves[oracle.output_name(parameters)].T + leaves["output.bias"]
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.tensor(y, dtype=torch.long).reshape(-1))
    loss.backward()

    np.testing.assert_allclose(ours.logits, logits.detach(), rtol=0, atol=1e-13)
    assert abs(ours.loss - loss.item()) < 1e-13
    for name, leaf in leaves.items():
        np.testing.assert_allclose(ours.grads[name], leaf.grad, rtol=0, atol=1e-13, err_msg=name)
    for part, leaf in starts.items():
        np.testing.assert_allclose(ours.carry_grads[part], leaf.grad, rtol=0, atol=1e-13, err_msg=part)
