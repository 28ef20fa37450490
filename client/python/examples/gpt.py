"""A small GPT learns the licence texts of the system, with the charges of its attention heads.

An invertible matrix may be put between queries and keys of a head, and between values and output:
gradient flow conserves Q Q' - K K' and V V' - O' O. AdamW does not, and the picture shows how much
of the charge's motion each of its terms makes.
"""

import pathlib

import job
import thermograd
import torch
from torch import nn

RUN = "example-gpt"
TEXTS = pathlib.Path("/usr/share/common-licenses")
LAYERS, WIDTH, HEADS, CONTEXT = 2, 48, 4, 48
MICROBATCHES, SEQUENCES = 2, 8


class Attention(nn.Module):
    """Causal self-attention; each projection is a layer of its own."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))

    def forward(self, x):
        def heads(projection):
            return projection(x).unflatten(-1, (HEADS, -1)).transpose(-2, -3)

        scores = heads(self.query) @ heads(self.key).transpose(-1, -2)
        weights = (scores / (WIDTH // HEADS) ** 0.5 + self.mask).softmax(-1)
        return self.output((weights @ heads(self.value)).transpose(-2, -3).flatten(-2))


class Block(nn.Module):
    """A layer of the transformer, normalised before its parts."""

    def __init__(self):
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(x)


class GPT(nn.Module):
    """Predicts the next character."""

    def __init__(self, vocabulary):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary))

    def forward(self, tokens):
        return self.head(self.blocks(self.tokens(tokens) + self.positions))


def symmetries():
    """The rotations of every layer's heads."""
    found = []
    for layer in range(LAYERS):
        part = f"blocks.{layer}.attention."
        found += [
            thermograd.QueryKeyRotation(
                f"qk:{layer}", query=f"{part}query.weight", query_bias=f"{part}query.bias",
                key=f"{part}key.weight", key_bias=f"{part}key.bias", heads=HEADS,
            ),
            thermograd.DoubleRotation(
                f"vo:{layer}", first=f"{part}value.weight", first_bias=f"{part}value.bias",
                second=f"{part}output.weight", heads=HEADS,
            ),
        ]  # fmt: skip
    return found


def text():
    """The licence texts as numbers of characters, and how many characters there are."""
    paths = sorted(path for path in TEXTS.iterdir() if path.is_file() and not path.is_symlink())
    content = "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)
    characters = {character: number for number, character in enumerate(sorted(set(content)))}
    return torch.tensor([characters[character] for character in content]), len(characters)


def train(address, steps, run=RUN):
    """Trains the model, watched; the curves of the run."""
    curves = job.Curves(
        loss=thermograd.metric_key("thermograd_loss"),
        noise_scale=thermograd.metric_key("thermograd_gradient_noise_scale_samples"),
        **{
            f"{figure} {symmetry.name}": thermograd.metric_key(
                f"thermograd_symmetry_{figure}", symmetry=symmetry.name
            )
            for symmetry in symmetries()
            for figure in (
                "charge", "charge_norm", "residual_ratio", "charge_drift_error_ratio",
                "optimizer_breaking_norm", "entropic_breaking_norm",
            )
        },
    )  # fmt: skip
    torch.manual_seed(0)
    content, vocabulary = text()
    model = GPT(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    with thermograd.watch(
        model, optimizer, run=run, address=address, accumulation="mean", symmetries=symmetries(),
        log=["gradients", "parameters", "updates"], include="attention|mlp", window_steps=32,
        on_report=curves.take, log_freq=1,
    ) as watcher:  # fmt: skip
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(MICROBATCHES):
                starts = torch.randint(len(content) - CONTEXT, (SEQUENCES,))
                windows = torch.stack([content[start : start + CONTEXT + 1] for start in starts])
                logits = model(windows[:, :-1])
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
                (loss / MICROBATCHES).backward()
                watcher.log(loss=loss)
            optimizer.step()
        watcher.flush(60.0)
    return curves


def main():
    settings = job.arguments(__doc__, steps=400)
    curves = train(settings.address, settings.steps)
    print(f"loss a character: {curves.first('loss'):.2f} -> {curves.last('loss', 20):.2f}")
    for symmetry in symmetries():
        name = symmetry.name
        print(
            f"{name}: charge norm {curves.first(f'charge_norm {name}'):.2f} -> "
            f"{curves.last(f'charge_norm {name}'):.2f}, residual "
            f"{curves.last(f'residual_ratio {name}', 20):.1e}, error of the predicted drift "
            f"{curves.last(f'charge_drift_error_ratio {name}', 20):.1e}"
        )
    if settings.picture is None:
        return
    figure, (loss, charge, breaking) = job.panels(3, title="A small GPT reads licence texts")
    loss.set_title("loss a character")
    loss.plot(curves.steps("loss"), curves.values("loss"), color="#d1662b")
    charge.set_title("norm of the charges of all heads")
    breaking.set_title("what moves the charge in a step, first layer")
    for symmetry, style in zip(symmetries(), ("-", "-", "--", "--"), strict=True):
        key = f"charge_norm {symmetry.name}"
        charge.plot(
            curves.steps(key), curves.values(key), style, label=symmetry.name,
            color="#1f5fa8" if symmetry.name.startswith("qk") else "#d1662b",
        )  # fmt: skip
    for name, colour in (("qk:0", "#1f5fa8"), ("vo:0", "#d1662b")):
        for term, style in (("optimizer", "-"), ("entropic", ":")):
            key = f"{term}_breaking_norm {name}"
            breaking.semilogy(
                curves.steps(key), curves.values(key), style, color=colour,
                label=f"{name}, {term}",
            )  # fmt: skip
    charge.legend()
    breaking.set_ylim(top=1)
    breaking.legend(ncols=2)
    job.save(figure, settings.picture)


if __name__ == "__main__":
    main()
