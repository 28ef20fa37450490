"""The program of the package's README runs, and does what the text says."""

import re

from system_support import ROOT

README = ROOT / "client/python/README.md"


def test_every_block_runs(server, capsys, monkeypatch, tmp_path):
    # Where its files go.
    monkeypatch.chdir(tmp_path)
    text = README.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("```python") >= 8
    names = {}
    for block in blocks:
        # Counted from the start of the file, so that a traceback points into the guide.
        line = text[: text.index(block)].count("\n")
        code = "\n" * line + block.replace("127.0.0.1:50051", server.grpc_address)
        exec(compile(code, README, "exec"), names)
        watcher = names.pop("watcher", None)
        if watcher is None:
            continue
        assert watcher.stats.hook_errors == 0
        if "127.0.0.1:9" in block:
            assert watcher.stats.dropped_steps == 1
        else:
            assert watcher.stats.acknowledged_steps == watcher.stats.captured_steps > 0
    printed = capsys.readouterr().out
    assert "gradient covariance trace: " in printed
    assert "UNDEFINED_REASON_TOO_FEW_MICROBATCHES" in printed
    assert "charge drift from sums: " in printed
    assert "thermograd_cka_ratio" in printed
    live = {dict(labels).get("run") for _, labels in server.scrape()}
    assert {"baseline", "probed", "accumulated", "mixed", "reported", "arrays", "summed", "sampled",
            "changing"} <= live


def test_every_argument_of_watch_is_in_the_table():
    import inspect

    import thermograd

    rows = re.findall(r"^\| (`.*?`) \|", README.read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named >= set(inspect.signature(thermograd.watch).parameters)
