"""The demo's texts, what its transformer makes of them, and the files that the repository carries for it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from shards import open_one

from demo.captures import file_name, write_captures
from demo.hidden_states import LAYER, MOST_TOKENS, model_folder
from demo.published import D_SAE, FEATURES, HUB, NEURONPEDIA_ID, SAE_ID, Published, write_features
from demo.texts import (
    BOOKS,
    LEAST_SHOWN_CHARACTERS,
    MOST_CHARACTERS,
    N_HELD_OUT,
    Text,
    shown_texts,
    studied_texts,
)
from encoder.hooks import compare
from encoder.sae.load import load_sae
from standin import World


def test_texts_that_are_shown_were_not_studied() -> None:
    shown, studied = shown_texts(), studied_texts()
    n_shown = Counter(text.book for text in shown)
    assert list(n_shown) == list(BOOKS)
    assert all(0.6 * N_HELD_OUT[book] < n_shown[book] <= N_HELD_OUT[book] for book in BOOKS)
    assert not {text.prompt for text in shown} & {text.prompt for text in studied}
    names = [(text.book, file_name(text.prompt)) for text in shown]
    assert len(set(names)) == len(names) and all(name.isascii() for _, name in names)


def test_texts_are_plain_and_short_enough_to_be_read_in_one_go() -> None:
    assert min(len(text.response) for text in shown_texts()) >= LEAST_SHOWN_CHARACTERS
    for text in [*shown_texts(), *studied_texts()]:
        assert 0 < len(text.response) <= MOST_CHARACTERS and text.response == text.response.strip()
        assert text.prompt.strip() and text.prompt.endswith("\n")
        assert text.book != "factbook" or not re.search(r"</?\w+>|&\w+;", text.response)


def test_a_capture_holds_what_the_whole_transformer_makes_of_the_text(tmp_path: Path) -> None:
    import transformers
    from tokenizers import Tokenizer

    text = Text("manual", '>>> help("lambda")\n', "An unhashable Ångström;\n\n   it takes the King James's river. ")
    long = Text("scripture", "Numbers 1\n", "and so on " * 400)
    assert write_captures(tmp_path, [long, text]) > MOST_TOKENS
    shard = open_one(tmp_path / "manual" / "help-lambda.pt", 384)
    assert compare(shard.hook_name, load_sae(sae_path=HUB / SAE_ID).hook_name) == "same"
    tokens = shard.tokens()
    assert tokens.texts is not None and tokens.token_ids is not None
    assert "".join(tokens.texts) == text.prompt + text.response
    start, stop = tokens.sections["response"]
    assert "".join(tokens.texts[start:stop]) == text.response and stop == shard.n_rows
    cut = open_one(tmp_path / "scripture" / "numbers-1.pt", 384)
    assert cut.n_rows == MOST_TOKENS and set(cut.tokens().texts or []) >= {" so", " on"}

    whole = transformers.BertModel.from_pretrained(model_folder(), output_hidden_states=True).eval()
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    ids = torch.tensor([tokenizer.encode(text.prompt + text.response).ids])
    assert ids[0, 1:-1].tolist() == tokens.token_ids.tolist()
    with torch.no_grad():
        expected = whole(ids).hidden_states[LAYER][0, 1:-1]
    torch.testing.assert_close(shard.read(0, shard.n_rows).float(), expected, atol=0.01, rtol=0.01)
    sae = load_sae(sae_path=HUB / SAE_ID).module
    rebuilt = sae.decode(sae.encode(expected))
    assert (rebuilt - expected).square().sum() < 0.4 * (expected - expected.mean(dim=0)).square().sum()


def test_what_is_published_is_of_one_sae() -> None:
    sae = load_sae(sae_path=HUB / SAE_ID)
    assert (sae.d_in, sae.d_sae, sae.identity["neuronpedia_id"]) == (384, D_SAE, NEURONPEDIA_ID)
    assert sae.rule is not None
    world = World()
    world.add_source(*NEURONPEDIA_ID.split("/"), D_SAE)
    world.plant(FEATURES)
    features = [world.feature(*NEURONPEDIA_ID.split("/"), index) for index in range(D_SAE)]
    labels = [e.description for feature in features if feature for e in feature.explanations]
    assert len(labels) > 0.8 * D_SAE and all(labels)
    for feature in features:
        assert feature is not None and (feature.max_act_approx == 0) == (feature.frac_nonzero == 0)


def test_features_are_written_the_same_each_time(tmp_path: Path) -> None:
    features = [Published("“of” after “king”", ["of"], ["x"], 3.21, 0.01), Published(None, [], [], 0.0, 0.0)]
    for name in ("a", "b"):
        write_features(tmp_path / name, features)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    world = World()
    world.add_source(*NEURONPEDIA_ID.split("/"), 2)
    world.plant(tmp_path / "a")
    first, second = (world.feature(*NEURONPEDIA_ID.split("/"), index) for index in range(2))
    assert first is not None and [e.description for e in first.explanations] == ["“of” after “king”"]
    assert second is not None and second.explanations == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_runs_again_and_again_and_is_served_in_the_end(tmp_path: Path) -> None:
    out = tmp_path / "demo-data"
    command = [sys.executable, "-m", "demo", "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2,048 of 2,048 features, " in done.stdout + done.stderr and " is killed: kill -9 " in done.stdout
    assert f"--data-dir {out}/sae --features {out}/queue/out" in done.stdout
    assert "“military”" in done.stdout
    with subprocess.Popen([*command, "--serve"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(line.strip() for line in process.stdout if line.startswith("http://127.0.0.1:"))
        with urlopen(f"{address}api/summary", timeout=120) as answer:
            said = json.load(answer)
        process.send_signal(signal.SIGINT)
        for pid in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
            os.kill(pid, signal.SIGINT)  # as a terminal's Ctrl-C reaches all
    assert process.returncode == 0
    assert said["refusal"] is None and said["labels"]["complete"] and said["features"]["index"]["state"] == "ready"
    assert list(tmp_path.iterdir()) == [out]
