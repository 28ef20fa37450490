"""The blocks of the package's README that need a framework run, each by itself."""

import re

import pytest

from system_support import ROOT

README = ROOT / "client/python/README.md"
TEXT = README.read_text()
BLOCKS = {
    re.search(r"^from (transformers|lightning)|^import (optax)", block, re.MULTILINE).group(): block
    for block in re.findall(r"```py\n(.*?)```", TEXT, re.DOTALL)
}
FRAMEWORKS = {
    "from transformers": ("transformers", "hugging-face"),
    "from lightning": ("lightning", "lightning"),
    "import optax": ("optax", "jax"),
}


def test_every_block_has_its_framework():
    assert BLOCKS.keys() == FRAMEWORKS.keys()
    assert TEXT.count("```py\n") == len(BLOCKS)


@pytest.mark.parametrize("block", FRAMEWORKS)
def test_block_runs(server, tmp_path, monkeypatch, block):
    framework, run = FRAMEWORKS[block]
    pytest.importorskip(framework)
    if framework == "transformers":
        import debian_pytorch
        from transformers import TrainingArguments

        debian_pytorch.let_data_be_loaded(TrainingArguments)
    if framework == "lightning":
        import debian_pytorch
        from lightning.pytorch import LightningModule

        debian_pytorch.let_modules_be_made(LightningModule)
    monkeypatch.chdir(tmp_path)
    # Counted from the start of the file, so that a traceback points into the guide.
    line = TEXT[: TEXT.index(BLOCKS[block])].count("\n")
    code = "\n" * line + BLOCKS[block].replace("127.0.0.1:50051", server.grpc_address)
    exec(compile(code, README, "exec"), {"__name__": "guide"})
    samples = {
        name: value for (name, labels), value in server.scrape().items() if ("run", run) in labels
    }
    assert samples["thermograd_gradient_covariance_trace"] > 0
    assert samples["thermograd_loss"] > 0
    assert samples["thermograd_last_step"] == (7 if framework == "lightning" else 3)
