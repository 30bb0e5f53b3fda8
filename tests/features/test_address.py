"""A place is a path or a file:// address; the address of another place is refused in one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoder.errors import InputError
from encoder.stores.address import local_path


@pytest.mark.parametrize(
    ("named", "path"),
    [
        ("acts/0.npy", "acts/0.npy"),
        ("file:///data/my%20acts", "/data/my acts"),
        ("FILE://localhost/data", "/data"),
        (Path("file:///data/acts"), "/data/acts"),
        ("file:/data", "/data"),
        ("a:b/c", "a:b/c"),
        ("odd:/name", "odd:/name"),
        ("C:/acts", "C:/acts"),
        ("file", "file"),
    ],
)
def test_a_path_and_a_file_address_are_paths(named: str | Path, path: str) -> None:
    assert local_path(named) == Path(path)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("s3://bucket/acts/0.npy", r"^s3://bucket/acts/0\.npy: .*download it, for example with `aws s3 sync`"),
        (Path("s3://bucket/acts"), r"^s3://bucket/acts: "),
        ("gs://bucket/acts", "gcloud storage"),
        ("hf://datasets/x/y/0.npy", "hf download"),
        ("https://example.org/a.npy", "curl"),
        ("ipfs://Qm/a", "download it, and name the local copy"),
        ("file://acts/0.npy", "names the machine 'acts'.*three slashes"),
        ("file://", "three slashes"),
        ("file:///a%00b", "NUL"),
    ],
)
def test_any_other_address_is_refused_with_what_to_do(named: str | Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        local_path(named)
    assert "\n" not in str(caught.value)
