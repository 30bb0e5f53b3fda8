"""How many of several SAEs are loaded at a time, and which: as many as fit into memory, those that are loaded first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import encoding
import pytest
import torch
from encoding import Heard

from encoder.errors import InputError
from encoder.machine.free_memory import UNKNOWN, free_bytes, left_of_group
from encoder.options import Options
from encoder.queue.ticket import Target
from encoder.sae.memory import of_widths
from encoder.sae.sae import LoadedSae
from encoder.work.saes import MOST, Saes, fitting

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("saes")
    return [encoding.save_params(folder / f"{i}.npz", encoding.dictionary(seed=i)) for i in range(4)]


@pytest.fixture
def targets(paths: list[Path]) -> list[Target]:
    names = ({"sae_release": None, "sae_id": None, "sae_path": str(path)} for path in paths)
    return [Target(name, f"local/{i}", f"out/local/{i}/a.npz") for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("n_fit", "workers", "expected"), [(10, 1, 5), (10, 2, 2), (1, 1, 1), (0, 1, 1), (10**6, 1, MOST)]
)
def test_as_many_are_loaded_as_fit_into_half_of_the_free_memory(
    paths: list[Path], n_fit: int, workers: int, expected: int
) -> None:
    sae = encoding.load(paths[0])
    found, why = fitting(sae, CPU, Options(workers=workers), lambda device: n_fit * of_widths(sae.d_in, sae.d_sae).peak)
    assert found == expected and "are free" in why
    assert fitting(sae, CPU, Options(workers=workers, saes_at_once=7), lambda device: 0) == (7, "")


def test_what_is_free_is_what_the_machine_and_its_control_group_leave(tmp_path: Path) -> None:
    for name, text in (
        ("memory.max", "1000"),
        ("memory.current", "700"),
        ("memory.stat", "anon 5\ninactive_file 150\n"),
    ):
        (tmp_path / name).write_text(text)
    assert left_of_group(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert left_of_group(tmp_path) > UNKNOWN < left_of_group(tmp_path / "none")
    assert 0 < free_bytes(CPU) < 1 << 50


def saes(heard: Heard, given: list[LoadedSae] | None = None, **options: Any) -> Saes:
    return Saes(Options(backend="reference", **options), CPU, heard, given or [])


def loads(heard: Heard) -> list[str]:
    return [line.split(":")[0] for line in heard.lines if " SAE, " in line]


def test_those_that_are_loaded_come_first_and_the_oldest_goes_first(targets: list[Target]) -> None:
    heard = Heard()
    some = saes(heard, saes_at_once=2)
    assert some.pick(targets) == targets[:2]
    for target in (*targets[:3], targets[2]):
        some.get(target)
    assert loads(heard) == ["local/0", "local/1", "local/2"]
    assert some.pick(targets) == [targets[1], targets[2]] and some.pick(targets[:2]) == [targets[1], targets[0]]
    assert some.pick([]) == []


def test_fewer_than_all_are_told_with_the_reason_once(targets: list[Target]) -> None:
    heard = Heard()
    all_fit = saes(heard)
    assert all_fit.pick(targets) == targets and not heard.said("are loaded at a time")
    huge = saes(heard, saes_at_once=1)
    assert huge.pick(targets) == targets[:1] and not heard.said("are loaded at a time"), "the user said so"


def test_an_sae_that_is_given_is_not_loaded_anew(paths: list[Path], targets: list[Target]) -> None:
    given = encoding.load(paths[1])
    some = saes(Heard(), [given], saes_at_once=4)
    assert some.get(targets[1])[0] is given and some.get(targets[0])[0] is not given
    assert some.known(targets[1]).weights_sha256 == given.identity["weights_sha256"]
    with pytest.raises(InputError, match="no such file"):
        some.get(Target({"sae_path": "/nowhere.npz"}, "", ""))
