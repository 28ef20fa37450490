"""Residuals of every symmetry of a transformer, true and false, with automatic differentiation."""

import numpy
import pytest
import torch

from symmetry_run import SymmetryRun
from system_support import run, value

torch.set_default_dtype(torch.float64)
MODEL, HEAD, KEY_HEADS, TOKENS, BATCH = 12, 4, 2, 7, 3


class Names(dict):
    """Parameters by name, made when first asked for."""

    def __init__(self, seed):
        self._random = torch.Generator().manual_seed(seed)
        super().__init__()

    def make(self, name, *shape):
        if name not in self:
            self[name] = (0.5 * torch.randn(*shape, generator=self._random)).requires_grad_()
        return self[name]


def rotate(x, layout):
    """Rotary position embedding of (batch, heads, tokens, HEAD)."""
    if layout is None:
        return x
    pairs = HEAD // 2
    angle = torch.arange(TOKENS)[:, None] / 10.0 ** torch.arange(pairs)
    if layout == "interleaved":
        a, b = x[..., 0::2], x[..., 1::2]
    else:
        a, b = x[..., :pairs], x[..., pairs:]
    a, b = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    if layout == "interleaved":
        return torch.stack((a, b), dim=-1).flatten(-2)
    return torch.cat((a, b), dim=-1)


def attention(names, x, queries, layout):
    """Attention with `queries` query heads for each key head, and biases."""

    def project(name, heads):
        weight = names.make(name, heads * HEAD, MODEL)
        bias = names.make(f"{name}.bias", heads * HEAD)
        return (x @ weight.T + bias).unflatten(-1, (heads, HEAD)).transpose(1, 2)

    q = rotate(project("query", queries * KEY_HEADS), layout)
    k, v = (
        h.repeat_interleave(queries, dim=1)
        for h in (rotate(project("key", KEY_HEADS), layout), project("value", KEY_HEADS))
    )
    mixed = torch.softmax(q @ k.transpose(-1, -2) / HEAD**0.5, dim=-1) @ v
    output = names.make("output", MODEL, queries * KEY_HEADS * HEAD)
    return mixed.transpose(1, 2).flatten(-2) @ output.T


def figures_of(server, name, network, symmetries):
    """Figures of one step of `network(names, x)`."""
    names = Names(seed=5)
    x = torch.randn(BATCH, TOKENS, MODEL, generator=torch.Generator().manual_seed(6))
    out = network(names, x)
    target = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
    ((out - target) ** 2).mean().backward()
    weights = {key: parameter.detach().numpy() for key, parameter in names.items()}
    gradients = {key: parameter.grad.numpy() for key, parameter in names.items()}
    with SymmetryRun(server, name, weights, symmetries, learning_rate=0.1) as stream:
        return stream.step(1, gradients, weights)


def residual(figures, symmetry):
    return value(figures, "thermograd_symmetry_residual_ratio", symmetry=symmetry)


@pytest.mark.parametrize("layout", [None, "interleaved", "halves"])
@pytest.mark.parametrize("queries", [1, 3])
def test_attention(server, queries, layout):
    rotary = {
        None: run.ROTARY_LAYOUT_UNSPECIFIED,
        "interleaved": run.ROTARY_LAYOUT_INTERLEAVED,
        "halves": run.ROTARY_LAYOUT_HALVES,
    }

    def query_key(of, name, rotary_layout):
        return run.Symmetry(
            name=name,
            query_key_rotation=run.QueryKeyRotation(
                query=of.member("query"),
                query_bias=of.member("query.bias"),
                key=of.member("key"),
                key_bias=of.member("key.bias"),
                heads=KEY_HEADS,
                rotary=rotary_layout,
            ),
        )

    def symmetries(of):
        return [
            query_key(of, "declared", rotary[layout]),
            query_key(of, "without rotary", rotary[None]),
            query_key(of, "interleaved", rotary["interleaved"]),
            query_key(of, "halves", rotary["halves"]),
            run.Symmetry(
                name="value and output",
                double_rotation=run.DoubleRotation(
                    first=of.member("value"),
                    first_bias=of.member("value.bias"),
                    second=of.member("output"),
                    heads=KEY_HEADS,
                ),
            ),
        ]

    figures = figures_of(
        server,
        f"attention-{queries}-{layout}",
        lambda names, x: attention(names, x, queries, layout),
        symmetries,
    )
    assert residual(figures, "declared") < 1e-12
    assert residual(figures, "value and output") < 1e-12
    if layout is not None:
        other = "halves" if layout == "interleaved" else "interleaved"
        assert residual(figures, "without rotary") > 0.01
        assert residual(figures, other) > 0.01


def test_packed_projections_are_members_by_rows(server):
    rows = KEY_HEADS * HEAD

    def network(names, x):
        packed = names.make("packed", 3 * rows, MODEL)
        q, k, v = (
            (x @ part.T).unflatten(-1, (KEY_HEADS, HEAD)).transpose(1, 2)
            for part in packed.split(rows)
        )
        mixed = torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v
        # Stored (in x out), as some frameworks do.
        return mixed.transpose(1, 2).flatten(-2) @ names.make("output", rows, MODEL)

    def symmetries(of):
        parts = [of.member("packed", first_row=i * rows, rows=rows) for i in range(3)]
        output = of.member("output", transposed=True)
        return [
            run.Symmetry(
                name="query and key",
                query_key_rotation=run.QueryKeyRotation(
                    query=parts[0], key=parts[1], heads=KEY_HEADS
                ),
            ),
            run.Symmetry(
                name="value and output",
                double_rotation=run.DoubleRotation(
                    first=parts[2], second=output, heads=KEY_HEADS
                ),
            ),
            run.Symmetry(
                name="key for value",
                double_rotation=run.DoubleRotation(
                    first=parts[1], second=output, heads=KEY_HEADS
                ),
            ),
        ]

    figures = figures_of(server, "packed", network, symmetries)
    assert residual(figures, "query and key") < 1e-12
    assert residual(figures, "value and output") < 1e-12
    assert residual(figures, "key for value") > 0.1


def test_low_rank_adapters(server):
    def network(names, x):
        base = torch.ones(MODEL, MODEL) / MODEL
        return torch.tanh(
            x @ (base + names.make("b", MODEL, 3) @ names.make("a", 3, MODEL)).T
        )

    def symmetries(of):
        return [
            run.Symmetry(
                name="adapter",
                double_rotation=run.DoubleRotation(first=of.member("a"), second=of.member("b")),
            )
        ]

    assert residual(figures_of(server, "lora", network, symmetries), "adapter") < 1e-13


def test_gated_layers_scale_between_up_and_down_only(server):
    def network(names, x):
        gate, up = (x @ names.make(name, 16, MODEL).T for name in ("gate", "up"))
        return (torch.nn.functional.silu(gate) * up) @ names.make("down", MODEL, 16).T

    def symmetries(of):
        return [
            run.Symmetry(
                name=name,
                neuron_rescaling=run.NeuronRescaling(
                    incoming=of.member(name), outgoing=of.member("down")
                ),
            )
            for name in ("up", "gate")
        ]

    figures = figures_of(server, "swiglu", network, symmetries)
    assert residual(figures, "up") < 1e-13
    assert residual(figures, "gate") > 0.02


def test_convolution_and_flattening_scale_by_channel(server):
    def network(names, x):
        maps = torch.relu(
            torch.nn.functional.conv1d(
                x[:, None, 0], names.make("kernel", 4, 1, 3), names.make("bias", 4)
            )
        )
        return maps.flatten(1) @ names.make("linear", 5, 4 * (MODEL - 2)).T

    def symmetries(of):
        return [
            run.Symmetry(
                name="channels",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=of.member("kernel"),
                    incoming_bias=of.member("bias"),
                    outgoing=of.member("linear"),
                ),
            )
        ]

    figures = figures_of(server, "convolution", network, symmetries)
    assert residual(figures, "channels") < 1e-13
    assert (
        value(figures, "thermograd_neuron_residual_ratio", symmetry="channels", quantile="1")
        < 1e-13
    )


@pytest.mark.parametrize("epsilon, lowest, highest", [(0.0, 0, 1e-13), (0.1, 1e-3, 1)])
def test_normalised_weights(server, epsilon, lowest, highest):
    def network(names, x):
        hidden = x @ names.make("w", 8, MODEL).T
        return torch.nn.functional.layer_norm(hidden, (8,), eps=epsilon) @ torch.ones(8, 3).tril()

    def symmetries(of):
        return [
            run.Symmetry(
                name="norm", scale_invariance=run.ScaleInvariance(weight=of.member("w"))
            ),
            # Layer normalisation mixes the rows: none scales by itself.
            run.Symmetry(
                name="rows",
                scale_invariance=run.ScaleInvariance(weight=of.member("w"), per_row=True),
            ),
        ]

    figures = figures_of(server, f"layer-norm-{epsilon}", network, symmetries)
    assert lowest <= residual(figures, "norm") < highest
    assert residual(figures, "rows") > 0.01


def test_logits_translate_under_softmax_only(server):
    for softmax in (True, False):

        def network(names, x, softmax=softmax):
            logits = x @ names.make("w", 5, MODEL).T + names.make("b", 5)
            return torch.log_softmax(logits, dim=-1) if softmax else logits

        def symmetries(of):
            return [
                run.Symmetry(
                    name="logits",
                    logit_translation=run.LogitTranslation(
                        weight=of.member("w"), bias=of.member("b")
                    ),
                )
            ]

        found = residual(
            figures_of(server, f"logits-{softmax}", network, symmetries), "logits"
        )
        assert found < 1e-13 if softmax else found > 0.01
