"""The command line, as a person or a program meets it: exit statuses, stdout, stderr."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import RELEASE, SAE_ID, SUMMARY_KEYS, Ended, end, environment, saefetch, start, wait_until

from saefetch.cli import main
from standin import Explanation, Fault, Feature, Respond, Standin, TooMany, World

SOURCES = [(f"{n}-gemmascope-res-16k", 300) for n in (10, 11)] + [("16-gemmascope-res-16k", 400)]
WIDTH = ("--num-features", "300")
ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b31m\u202e dangerous"
FLAGS = [
    "--sae-release",
    "--sae-id",
    "--neuronpedia-id",
    "--num-features",
    "--source",
    "--features",
    "--refresh",
    "--data-dir",
    "--api-url",
    "--export-url",
    "--requests-per-second",
    "--concurrency",
    "--batch-size",
    "--max-attempts",
    "--max-wait-s",
    "--config",
    "--json",
    "--quiet",
]
# Inputs that are refused before anything else happens, and what the one line says.
REFUSED = {
    "download --concurrency x": "--concurrency 'x': should be a valid integer",
    "download --requests-per-second nan": "--requests-per-second 'nan': should be a finite number",
    "download --requests-per-second=-1": "--requests-per-second '-1': should be greater than",
    "download --max-wait-s inf": "--max-wait-s 'inf': should be a finite number",
    "download --batch-size 99999999999999999999999": "--batch-size '99999999999999999999999': should be less than",
    "download --source exprot": "--source 'exprot': should be 'auto', 'export', 'batch' or 'feature'",
    "download --num-features 0": "--num-features must be from 1",
    "download --features 5": "--features '5': expected A:B",
    "download --features 5:2": "A must be less than B",
    "download --features=-1:2": "expected A:B",
    "download --features 16384:": "there are features 0 to 16,383 only",
    "download --sae-release gemma-scope-2b-pt-mlp-canonical": "needs --sae-id",
    "download --sae-id layer_16/width_16k/cannonical": "Did you mean --sae-id layer_16/width_16k/canonical",
    "download --sae-id nope_*": "maps no SAE",
    "download --sae-id ../../etc": "is not a valid name",
    "download --neuronpedia-id gemma-2-2b": "expected MODEL/SOURCE",
    "download --api-url ftp://host": "expected an address",
    "download --config nope.toml": "there is no such file",
    "download --colour": "No such option: --colour",
    "download extra": "unexpected extra argument",
    "search": "Missing argument 'QUERY'",
    "search x --limit 0": "--limit",
    "search x --sae-release other": "needs --sae-id",
    "show x": "INDEX",
    "downlaod": "Did you mean 'download'",
    "": "",
}


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    world = World()
    for source, n_features in SOURCES:
        world.add_source("gemma-2-2b", source, n_features)
    planted = Explanation(f"zebra {ESCAPES}", f"type{ESCAPES}", "model", "x")
    world.override("gemma-2-2b", SOURCES[0][0], Feature(7, (planted,), (ESCAPES, " ok\n"), (), 1.5, 0.01))
    with Standin(world) as running:
        yield running


@pytest.fixture(scope="module")
def here(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished downloads."""
    folder = tmp_path_factory.mktemp("here")
    ended = saefetch(folder, "download", "--sae-id", "layer_1[01]/width_16k/canonical", *WIDTH, standin=standin)
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Return `main` as a function: quicker than a process, and the same but for `download`, which ends the process."""

    def run(*words: str, cwd: Path) -> Ended:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["saefetch", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return Ended(int(caught.value.code or 0), out, err)

    for name in [name for name in os.environ if name.startswith("SAEFETCH_")]:
        monkeypatch.delenv(name)
    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", REFUSED)
def test_a_bad_command_is_refused_with_status_2_and_one_line(
    line: str, run_here: Callable[..., Ended], tmp_path: Path
) -> None:
    ended = run_here(*shlex.split(line), cwd=tmp_path)
    assert ended.status == 2
    if line:
        assert ended.err.startswith("saefetch: ") and REFUSED[line] in ended.err
        assert ended.err.count("\n") == 1 and not ended.out
    else:
        assert ended.out.startswith("Usage: saefetch") and "Examples:" in ended.out
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize("line", ["download --source x", "search --bad", "show 1", "verify", "download --features 9"])
def test_with_json_a_refusal_is_one_object_as_well(line: str, run_here: Callable[..., Ended], tmp_path: Path) -> None:
    ended = run_here(*line.split(), "--json", cwd=tmp_path)
    assert list(ended.document) == ["error", "exit_status"]
    assert ended.document["exit_status"] == ended.status != 0
    assert ended.err == f"saefetch: {ended.document['error']}\n"


def test_an_unknown_toml_key_and_a_bad_variable_are_refused(
    run_here: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEFETCH_CONCURRENCY", "many")
    assert "SAEFETCH_CONCURRENCY 'many': should be a valid integer" in run_here("status", cwd=tmp_path).err
    (tmp_path / "config").mkdir()
    (tmp_path / "config/saefetch.toml").write_text("concurency = 3")
    ended = run_here("status", cwd=tmp_path)
    assert ended.status == 2 and "unknown key 'concurency'; the closest known one is 'concurrency'" in ended.err


@pytest.mark.parametrize("command", ["download", "status", "search", "show", "list", "verify"])
def test_every_command_has_help_with_examples(command: str, run_here: Callable[..., Ended], tmp_path: Path) -> None:
    for flag in ("--help", "-h"):
        ended = run_here(command, flag, cwd=tmp_path)
        assert ended.status == 0 and not ended.err
        assert ended.out.startswith(f"Usage: saefetch {command} [OPTIONS]")
        assert f"  saefetch {command}" in ended.out and "--json" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100


def test_the_help_of_download_lists_every_flag_of_the_contract(run_here: Callable[..., Ended], tmp_path: Path) -> None:
    text = run_here("download", "--help", cwd=tmp_path).out
    assert all(re.search(rf"^  (-q, )?{flag} ", text, re.MULTILINE) for flag in FLAGS)


def test_version_is_said(run_here: Callable[..., Ended], tmp_path: Path) -> None:
    assert re.fullmatch(r"saefetch \d+\.\d+\.\d+\n", run_here("--version", cwd=tmp_path).out)


# -- downloading ----------------------------------------------------------------------------------------------------


def test_with_json_stdout_is_exactly_one_object_and_progress_goes_to_stderr(standin: Standin, tmp_path: Path) -> None:
    ended = saefetch(
        tmp_path, "download", "--sae-id", "layer_10/width_16k/canonical", *WIDTH, "--json", standin=standin
    )
    summary = ended.document
    assert ended.status == 0 and list(summary) == SUMMARY_KEYS
    assert summary["successful"] + summary["missing"] + summary["failed"] == summary["total_features"] == 300
    assert Path(tmp_path, summary["labels_path"]).is_file() and Path(tmp_path, summary["metadata_path"]).is_file()
    assert "300 features" in ended.err and "\x1b" not in ended.err


def test_quiet_says_nothing_at_all_but_errors(standin: Standin, tmp_path: Path) -> None:
    words = ("download", "--sae-id", "layer_10/width_16k/canonical", *WIDTH, "--quiet")
    assert saefetch(tmp_path, *words, standin=standin) == Ended(0, "", "")
    ended = saefetch(tmp_path, "download", "--neuronpedia-id", "gemma-2-2b/nope", "-q", standin=standin)
    assert ended.status == 3 and not ended.out
    assert ended.err.startswith("saefetch: ") and ended.err.count("\n") == 1


def test_without_json_the_last_line_of_stdout_is_the_path(standin: Standin, tmp_path: Path) -> None:
    ended = saefetch(
        tmp_path,
        "download",
        "--neuronpedia-id",
        "gemma-2-2b/10-gemmascope-res-16k",
        standin=standin,
        SAEFETCH_NUM_FEATURES="300",
    )
    counts, path = ended.out.splitlines()
    assert counts.startswith("300 of 300 features") and Path(tmp_path, path).is_file()
    assert path == f"sae/{RELEASE}/layer_10_width_16k_canonical/feature_labels.json", "the registry knew its names"


def test_a_pattern_always_gives_jobs_even_for_one_sae(standin: Standin, tmp_path: Path) -> None:
    ended = saefetch(
        tmp_path, "download", "--sae-id", "layer_16/width_16k/canonica[l]", *WIDTH, "--json", standin=standin
    )
    assert list(ended.document) == ["jobs"]
    assert [list(job) for job in ended.document["jobs"]] == [SUMMARY_KEYS]


def test_flags_win_over_the_environment_over_toml(standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/saefetch.toml").write_text('source = "feature"\ndata_dir = "from_toml"\nnum_features = 100')
    variables = {"SAEFETCH_SOURCE": "export", "SAEFETCH_DATA_DIR": "from_env"}
    words = ("download", "--sae-id", "layer_10/width_16k/canonical", "--json", "--source", "batch", "--features", "0:5")
    summary = saefetch(tmp_path, *words, standin=standin, **variables).document
    assert summary["source"] == "batch" and summary["total_features"] == 5
    assert summary["labels_path"].startswith("from_env/")
    metadata = json.loads(Path(tmp_path, summary["metadata_path"]).read_text())
    assert metadata["num_features"] == 100


def test_without_a_network_it_fails_within_seconds_in_one_line_that_names_the_host(tmp_path: Path) -> None:
    urls = {"SAEFETCH_API_URL": "https://neuronpedia.invalid", "SAEFETCH_EXPORT_URL": "https://export.invalid"}
    ended = saefetch(tmp_path, "download", "--quiet", "--json", standin=None, **urls)
    assert ended.status == 1 and ended.document["successful"] == 0
    assert ended.err.startswith("saefetch: cannot find the host neuronpedia.invalid") and ended.err.count("\n") == 1
    assert "Nothing was lost" in ended.err and "make demo" in ended.err
    assert not list(tmp_path.glob("sae/*"))


def test_a_refusal_by_the_server_is_status_3(tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 50)
    with Standin(world, faults=[Fault(Respond(403), times=None)]) as standin:
        ended = saefetch(tmp_path, "download", "--json", standin=standin)
    assert ended.status == 3 and ended.document["failed"] == 16_384 and "403" in ended.err


def test_features_that_failed_are_status_1_and_the_next_run_gets_just_those(tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 50)
    words = ("download", "--source", "feature", "--num-features", "50", "--max-attempts", "1", "--json")
    with Standin(world, faults=[Fault(Respond(500), match="/7", times=1)]) as standin:
        ended = saefetch(tmp_path, *words, standin=standin)
        assert ended.status == 1 and ended.document["failed"] == 1
        assert "the same command retries just those" in ended.err
        n_requests = len(standin.requests)
        ended = saefetch(tmp_path, *words, standin=standin)
        assert ended.status == 0 and ended.document["resumed"] == 49
        assert len(standin.requests) == n_requests + 1


def test_the_key_goes_to_the_api_and_is_never_printed_or_stored(standin: Standin, tmp_path: Path) -> None:
    n_before = len(standin.requests)
    words = ("download", "--sae-id", "layer_11/width_16k/canonical", "--num-features", "305")
    ended = saefetch(tmp_path, *words, standin=standin, NEURONPEDIA_API_KEY=" sk-secret ")
    assert ended.status == 0
    keys = {(record.origin, record.headers.get("x-api-key")) for record in standin.requests[n_before:]}
    assert keys == {("api", "sk-secret"), ("export", None)}
    assert "secret" not in ended.out + ended.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"sk-secret" in path.read_bytes()]


def test_a_key_that_cannot_be_one_is_refused_and_not_printed(standin: Standin, tmp_path: Path) -> None:
    ended = saefetch(tmp_path, "download", "--json", standin=standin, NEURONPEDIA_API_KEY="sk-sec\nret")
    assert ended.status == 2 and "NEURONPEDIA_API_KEY" in ended.err and "sk-sec" not in ended.out + ended.err


def test_a_second_download_of_the_same_sae_is_status_4(tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 50)
    with Standin(world, latency_s=60) as standin:
        first = start(tmp_path, "download", standin=standin)
        try:
            wait_until(lambda: len(standin.requests) > 0)
            ended = saefetch(tmp_path, "download", "--json", standin=standin)
            assert ended.status == 4 and f"pid {first.pid}" in ended.err
            assert ended.document["successful"] == 0
        finally:
            first.send_signal(signal.SIGINT)
            end(first)


# -- interruption ----------------------------------------------------------------------------------------------------


EARLY = """
import os, signal, sys
from saefetch.terminal.program import Program
sys.argv = ["saefetch", "status", *sys.argv[1:]]
Program("saefetch", "saefetch", lambda name: os.kill(os.getpid(), signal.SIGTERM), child_flag="--report").main()
"""


@pytest.mark.parametrize(("words", "says"), [([], "To run it again: "), (["--report", "{}"], "")])
def test_a_signal_before_the_work_begins_is_told_by_the_process_that_the_user_started(
    words: list[str], says: str
) -> None:
    done = subprocess.run([sys.executable, "-c", EARLY, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "")
    assert says in done.stderr and bool(done.stderr) == bool(says)


@pytest.mark.parametrize(
    ("number", "status", "path", "program"),
    [
        (signal.SIGINT, 130, None, ["saefetch"]),
        (signal.SIGTERM, 143, "/nowhere", [sys.executable, "-m", "saefetch"]),  # as in a make without activated venv
    ],
)
def test_an_interrupted_download_says_how_to_resume_and_that_command_does(
    number: signal.Signals, status: int, path: str | None, program: list[str], tmp_path: Path
) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 300)
    words = ("download", "--source", "batch", "--batch-size", "10", *WIDTH, "--data-dir", "my sae", "--json")
    with Standin(world, latency_s=0.05) as standin:
        process = start(tmp_path, *words, "--concurrency", "2", standin=standin, **({"PATH": path} if path else {}))
        wait_until(lambda: len(standin.requests) > 5)
        process.send_signal(number)
        ended = end(process)
        assert ended.status == status and list(ended.document) == SUMMARY_KEYS
        assert 0 < ended.document["successful"] < 300
        last = ended.err.splitlines()[-1]
        command = last.partition("To resume: ")[2]
        assert shlex.split(command) == [*program, *words, "--concurrency", "2"]
        n_before = len(standin.requests)
        resumed = saefetch(tmp_path, *shlex.split(command)[len(program) :], standin=standin)
    assert resumed.status == 0 and resumed.document["resumed"] >= ended.document["successful"]
    assert len(standin.requests) - n_before <= 30 - ended.document["successful"] // 10


@pytest.mark.parametrize("how_often", [1, 2, 3])
def test_pressing_ctrl_c_again_and_again_is_safe(how_often: int, tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 300)
    with Standin(world, latency_s=60) as standin:
        process = start(tmp_path, "download", "--source", "batch", *WIDTH, "--json", standin=standin)
        wait_until(lambda: len(standin.requests) > 0)
        for _ in range(how_often):
            process.send_signal(signal.SIGINT)
        ended = end(process)
    assert ended.status == 130 and "Traceback" not in ended.err


@pytest.mark.parametrize("after_s", [0.12, 0.25, 0.4])
def test_an_interruption_before_the_download_begins_is_an_interruption_too(after_s: float, tmp_path: Path) -> None:
    process = start(tmp_path, "download", "--json", standin=None)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    process.send_signal(signal.SIGTERM)
    ended = end(process)
    assert ended.status in (143, -signal.SIGTERM, 1), "1: it had already failed, as there is no server"
    assert "Traceback" not in ended.err


# -- reading ----------------------------------------------------------------------------------------------------


def test_status_shows_every_sae(here: Path, run_here: Callable[..., Ended]) -> None:
    ended = run_here("status", cwd=here)
    assert ended.status == 0 and ended.out.count("complete: 300 of 300 features") == 2
    saes = run_here("status", "--json", cwd=here).document["saes"]
    assert [sae["state"] for sae in saes] == ["complete", "complete"]
    assert [sae["sae_id"] for sae in saes] == ["layer_10/width_16k/canonical", "layer_11/width_16k/canonical"]


def test_status_gives_a_command_that_resumes(standin: Standin, tmp_path: Path, run_here: Callable[..., Ended]) -> None:
    words = ("--neuronpedia-id", "gemma-2-2b/16-gemmascope-res-16k", "--sae-release", "r", "--sae-id", "s")
    data_dir = ("--data-dir", "d d")
    saefetch(
        tmp_path,
        "download",
        *words,
        "--num-features",
        "300",
        "--source",
        "batch",
        "--features",
        "0:200",
        *data_dir,
        standin=standin,
    )
    ended = run_here("status", *data_dir, cwd=tmp_path)
    assert "incomplete: 200 of 300 features, 100 to fetch" in ended.out
    command = shlex.split(ended.out.splitlines()[-1])
    assert command[0] == "saefetch"
    assert saefetch(tmp_path, *command[1:], standin=standin).status == 0
    assert "complete: 300 of 300" in run_here("status", *data_dir, cwd=tmp_path).out


def test_verify_passes_and_then_names_what_is_wrong(
    standin: Standin, tmp_path: Path, run_here: Callable[..., Ended]
) -> None:
    saefetch(tmp_path, "download", "--sae-id", "layer_10/width_16k/canonical", *WIDTH, standin=standin)
    assert run_here("verify", cwd=tmp_path).out.endswith(": sound\n")
    (labels,) = tmp_path.rglob("feature_labels.json")
    labels.write_bytes(labels.read_bytes() + b" ")
    ended = run_here("verify", "--sae-id", "layer_10/width_16k/canonical", cwd=tmp_path)
    assert ended.status == 1 and "1 problem" in ended.out and "feature_labels.json: differs" in ended.err
    document = run_here("verify", "--json", cwd=tmp_path).document
    assert document["ok"] is False and sum(map(len, document["problems"].values())) == 1


def test_verify_of_an_sae_that_is_not_here_fails(here: Path, run_here: Callable[..., Ended]) -> None:
    ended = run_here("verify", "--sae-id", "layer_12/width_16k/canonical", cwd=here)
    assert ended.status == 1 and "`saefetch download` gets" in ended.err


SAE_10 = ("--sae-id", "layer_10/width_16k/canonical")


def test_search_and_show_never_let_escape_sequences_through(here: Path, run_here: Callable[..., Ended]) -> None:
    for words in (("search", "zebra"), ("show", "7")):
        ended = run_here(*words, *SAE_10, cwd=here)
        assert ended.status == 0 and "dangerous" in ended.out
        assert all(character.isprintable() or character == "\n" for character in ended.out)


def test_on_a_terminal_colours_are_ours_alone(here: Path) -> None:
    for words in (["search", "zebra"], ["show", "7"]):
        text = on_a_terminal(here, *words, *SAE_10)
        assert "\x1b[1" in text and "\x1b[31m" not in text and "\x1b]0" not in text and "\x9b" not in text
    assert "\x1b" not in on_a_terminal(here, "search", "zebra", *SAE_10, NO_COLOR="1")


def on_a_terminal(cwd: Path, *words: str, standin: Standin | None = None, **variables: str) -> str:
    """Run a command with a pseudo-terminal of 80 columns for stdin, stdout and stderr; return what it wrote there."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(cwd)
        env = environment(standin, TERM="xterm-256color", COLUMNS="80", LINES="24", **variables)
        os.execve(sys.executable, [sys.executable, "-m", "saefetch", *words], env)
    written = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not data:
            break
        written += data
    os.close(terminal)
    os.waitpid(pid, 0)
    return written.decode("utf-8", "replace")


def test_a_download_on_a_terminal_shows_a_bar_and_leaves_only_the_result(tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 300)
    with Standin(world, latency_s=0.1) as standin:
        words = ("download", "--source", "batch", "--batch-size", "50", *WIDTH, "--concurrency", "1")
        text = on_a_terminal(tmp_path, *words, standin=standin)
    for shown in ("━", "/300", "features/s", "retries", "quota"):
        assert shown in text, shown
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0, "the cursor is back"
    assert text.splitlines()[-1].endswith("feature_labels.json")


def test_a_pause_is_shown_with_its_end(tmp_path: Path) -> None:
    world = World()
    world.add_source("gemma-2-2b", "16-gemmascope-res-16k", 50)
    with Standin(world, faults=[Fault(TooMany(retry_after=1), times=1)]) as standin:
        words = ("download", "--source", "batch", "--num-features", "50", "--json")
        ended = saefetch(tmp_path, *words, standin=standin)
    assert ended.status == 0 and ended.document["rate_limited"] == 1
    assert re.search(r"paused until \d\d:\d\d:\d\d, Ctrl-C is safe", ended.err)


def test_search_and_show_give_json(here: Path, run_here: Callable[..., Ended]) -> None:
    found = run_here("search", "zebra", *SAE_10, "--json", cwd=here).document
    assert [hit["index"] for hit in found["results"]] == [7] and "[zebra]" in found["results"][0]["marked"]
    (feature,) = run_here("show", "7", *SAE_10, "--json", cwd=here).document["features"]
    assert feature["description"] == f"zebra {ESCAPES}" and feature["top_positive_tokens"] == [ESCAPES, " ok\n"]


def test_search_that_finds_nothing_says_so_and_one_for_nothing_is_refused(
    here: Path, run_here: Callable[..., Ended]
) -> None:
    ended = run_here("search", "qqqqqq", *SAE_10, cwd=here)
    assert ended.status == 0 and "No label" in ended.out
    assert run_here("search", "qqqqqq", *SAE_10, "--json", cwd=here).document["results"] == []
    assert run_here("search", "***", *SAE_10, cwd=here).status == 2


def test_show_of_a_feature_that_does_not_exist_says_which_do(here: Path, run_here: Callable[..., Ended]) -> None:
    for index in ("300", "9" * 30):
        ended = run_here("show", "0", index, *SAE_10, cwd=here)
        assert ended.status == 2 and "0 to 299" in ended.err and not ended.out


def test_reading_what_is_not_here_gives_the_command_that_gets_it(
    tmp_path: Path, run_here: Callable[..., Ended]
) -> None:
    for words in (("search", "x"), ("show", "1")):
        ended = run_here(*words, cwd=tmp_path)
        assert ended.status == 1 and f"saefetch download --sae-release {RELEASE} --sae-id {SAE_ID}" in ended.err


def test_list_is_for_eyes_programs_and_pipes(tmp_path: Path, run_here: Callable[..., Ended]) -> None:
    lines = run_here("list", "gemma-scope-2b-pt-res-canonical", "16k", cwd=tmp_path).out.splitlines()
    assert len(lines) == 26
    assert lines[16].split("\t") == [RELEASE, SAE_ID, "16384", "gemma-2-2b/16-gemmascope-res-16k"]
    saes = run_here("list", "gemma-scope-2b-pt-res-canonical", "16k", "--json", cwd=tmp_path).document["saes"]
    assert saes[16]["sae_release"] == RELEASE and saes[16]["num_features"] == 16_384
    nothing = run_here("list", "zzz", cwd=tmp_path)
    assert nothing.status == 0 and not nothing.out and "no SAE matches" in nothing.err
    assert run_here("list", "zzz", "--json", cwd=tmp_path).document == {"saes": []}


def test_list_on_a_terminal_of_80_columns_fits(tmp_path: Path) -> None:
    lines = on_a_terminal(tmp_path, "list", "gemma-scope-2b-pt-res-canonical", "16k").splitlines()
    assert len(lines) == 28 and max(map(len, lines)) <= 80


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m saefetch list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.count("\n") == 1 and not done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_escapes_and_programs_get_utf_8(here: Path, encoding: str) -> None:
    shown = saefetch(here, "show", "7", *SAE_10, standin=None, PYTHONIOENCODING=encoding)
    assert shown.status == 0 and "dangerous" in shown.out
    document = saefetch(here, "show", "7", *SAE_10, "--json", standin=None, PYTHONIOENCODING=encoding).document
    assert document["features"][0]["description"] == f"zebra {ESCAPES}"
