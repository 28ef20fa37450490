"""The table of symmetries in the client's guide, of real models: what is found, that all of it is
true, and that what looks like a symmetry but is none is not found."""

import collections
import re

import pytest
import thermograd
import torch
import torch.nn.functional as F
from torch import nn

from system_support import ROOT

from thermograd import (
    DoubleRotation,
    LayerRescaling,
    LogitTranslation,
    Member,
    NeuronRescaling,
    QueryKeyRotation,
    ScaleInvariance,
)

KINDS = (
    NeuronRescaling,
    LayerRescaling,
    DoubleRotation,
    QueryKeyRotation,
    ScaleInvariance,
    LogitTranslation,
)
CLASSES = 5
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def randomised(model):
    """The model in training, with biases and scales that are not those of a beginning."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    for module in model.modules():
        # Of a normalisation's epsilon the scales of weights are no longer quite a symmetry.
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-13
    return model.train()


def tokens():
    return torch.randint(3, 20, (3, 7))


def labels(logits):
    return torch.randint(CLASSES, logits.shape[:1])


class Block(nn.Module):
    """A residual block, its shortcut a convolution where the width changes."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, two blocks and a classifier."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 16))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(torch.flatten(self.pool(x), 1))


def mlp():
    model = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, CLASSES)
    )
    return model, lambda: model(torch.randn(9, 6))


def resnet():
    model = ResNet()
    return model, lambda: model(torch.randn(4, 3, 8, 8))


def gpt2():
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=2, n_embd=16, n_head=4, n_positions=16, vocab_size=20)
    )
    return model, lambda: model(tokens()).logits[:, -1]


def llama():
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            num_hidden_layers=2, num_key_value_heads=2, vocab_size=20, **SIZES
        )
    )
    # The model itself would make its logits single precision.
    return model, lambda: model.lm_head(model.model(tokens())[0][:, -1])


def bert():
    transformers = pytest.importorskip("transformers")
    model = transformers.BertForMaskedLM(
        transformers.BertConfig(num_hidden_layers=2, vocab_size=20, **SIZES)
    )
    return model, lambda: model(tokens()).logits[:, -1]


def vit():
    transformers = pytest.importorskip("transformers")
    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(
            num_hidden_layers=2, image_size=16, patch_size=8, num_labels=CLASSES, **SIZES
        )
    )
    return model, lambda: model(torch.randn(3, 3, 16, 16)).logits


def lora():
    peft = pytest.importorskip("peft")
    base, outputs = gpt2()
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return model.double(), outputs


MODELS = {
    "MLP": mlp,
    "ResNet": resnet,
    "GPT-2": gpt2,
    "Llama": llama,
    "BERT": bert,
    "ViT": vit,
    "GPT-2 with LoRA": lora,
}
LOSS = nn.CrossEntropyLoss()


def table():
    """{model: {kind: number}} as the guide has it."""
    guide = (ROOT / "client/python/README.md").read_text()
    lines = re.findall(r"^\|.*\|$", guide.split("## Symmetries")[1].split("\n## ")[0], re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    start = next(number for number, row in enumerate(rows) if row[0] == "Model")
    kinds = [cell.strip("`") for cell in rows[start][2:]]
    return {
        row[0]: dict(zip(kinds, map(int, row[2:]), strict=True)) for row in rows[start + 2 :]
    }


def backward(model, outputs):
    logits = outputs()
    LOSS(logits, labels(logits)).backward()


def test_the_guide_names_all_models_and_kinds():
    found = table()
    assert list(found) == list(MODELS)
    assert {tuple(row) for row in found.values()} == {tuple(kind.__name__ for kind in KINDS)}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_found_is_what_the_guide_says_and_true(name):
    model, outputs = MODELS[name]()
    randomised(model)
    found = thermograd.symmetries(model, loss=LOSS)
    counts = collections.Counter(type(symmetry).__name__ for symmetry in found)
    assert {kind.__name__: counts[kind.__name__] for kind in KINDS} == table()[name]
    backward(model, outputs)
    residuals = thermograd.symmetry_residuals(model, found)
    assert residuals.keys() == {symmetry.name for symmetry in found}
    assert max(residuals.values()) <= 1e-10, residuals


def members(symmetry):
    return type(symmetry), {k: v for k, v in vars(symmetry).items() if k != "name"}


LAYER = "model.layers.0"
NOT_SYMMETRIES = [
    # Behind a gate's activation, nothing is homogeneous.
    (llama, NeuronRescaling("s", f"{LAYER}.mlp.gate_proj.weight", f"{LAYER}.mlp.down_proj.weight")),
    (llama, LayerRescaling("s", f"{LAYER}.mlp.gate_proj.weight", f"{LAYER}.mlp.down_proj.weight")),
    # Rotary embedding leaves only the scalings of pairs, and these are pairs of halves.
    (llama, QueryKeyRotation("s", f"{LAYER}.self_attn.q_proj.weight",
                             f"{LAYER}.self_attn.k_proj.weight", heads=2)),
    (llama, QueryKeyRotation("s", f"{LAYER}.self_attn.q_proj.weight",
                             f"{LAYER}.self_attn.k_proj.weight", heads=2, rotary="interleaved")),
    # One matrix for all heads.
    (llama, DoubleRotation("s", f"{LAYER}.self_attn.v_proj.weight",
                           f"{LAYER}.self_attn.o_proj.weight")),
    # The same weights embed the tokens.
    (gpt2, LogitTranslation("s", "transformer.wte.weight")),
    (bert, LogitTranslation("s", "bert.embeddings.word_embeddings.weight",
                            "cls.predictions.bias")),
    # GELU between them.
    (gpt2, NeuronRescaling("s", Member("transformer.h.0.mlp.c_fc.weight", transposed=True),
                           Member("transformer.h.0.mlp.c_proj.weight", transposed=True),
                           "transformer.h.0.mlp.c_fc.bias")),
    (bert, NeuronRescaling("s", "bert.encoder.layer.0.intermediate.dense.weight",
                           "bert.encoder.layer.0.output.dense.weight",
                           "bert.encoder.layer.0.intermediate.dense.bias")),
    (bert, LayerRescaling("s", "bert.encoder.layer.1.intermediate.dense.weight",
                          "bert.encoder.layer.1.output.dense.weight",
                          "bert.encoder.layer.1.intermediate.dense.bias")),
    # Added to a stream before they are normalised.
    (bert, ScaleInvariance("s", "bert.encoder.layer.0.output.dense.weight")),
    (resnet, ScaleInvariance("s", "fc.weight")),
    # A normalisation between them.
    (llama, LayerRescaling("s", f"{LAYER}.self_attn.o_proj.weight", f"{LAYER}.mlp.up_proj.weight")),
    (resnet, NeuronRescaling("s", "blocks.0.bn2.weight", "blocks.1.conv1.weight",
                             "blocks.0.bn2.bias")),
]  # fmt: skip


@pytest.mark.parametrize(("make", "symmetry"), NOT_SYMMETRIES)
def test_what_is_none_is_not_found(make, symmetry):
    model, outputs = make()
    randomised(model)
    backward(model, outputs)
    assert thermograd.symmetry_residuals(model, [symmetry])["s"] > 1e-3
    found = thermograd.symmetries(model, loss=LOSS)
    assert members(symmetry) not in [members(other) for other in found]


@pytest.mark.parametrize("mode", ["tensors", "statistics"])
@pytest.mark.parametrize("name", MODELS)
def test_the_server_takes_and_confirms_all(server, name, mode):
    torch.set_default_dtype(torch.float32)
    model, outputs = MODELS[name]()
    model = randomised(model.float())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with thermograd.watch(
        model, optimizer, run=f"{name}-{mode}", address=server.grpc_address, mode=mode,
        microbatch_size=3, log_freq=1,
    ) as watcher:  # fmt: skip
        backward(model, outputs)
        optimizer.step()
        assert watcher.flush(), watcher.stats
        figures = watcher.metrics()
    for symmetry in thermograd.symmetries(model):
        key = thermograd.metric_key("thermograd_symmetry_residual_ratio", symmetry=symmetry.name)
        assert figures[key] <= 1e-4, symmetry.name
