"""Names of SAEs: what they may look like, and which one is meant.

Whatever becomes part of a path or a URL is checked here first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from saefetch.errors import UsageError
from saefetch.names import registry

DEFAULT_RELEASE = "gemma-scope-2b-pt-res-canonical"
DEFAULT_SAE_ID = "layer_16/width_16k/canonical"
MAX_FEATURES = 1 << 26

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._+=,@~-]{0,200}"
_RELEASE = re.compile(rf"{_SEGMENT}(/{_SEGMENT})?")  # of the registry, or a repository of the hub, OWNER/NAME
_SAE_ID = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_PAGE = re.compile(
    rf"(?:https?://[^/?#@\s]+/|(?:www\.)?neuronpedia\.org/)?(?:api/feature/)?"
    rf"((?!(?:www\.)?neuronpedia\.org/){_SEGMENT}/{_SEGMENT})(?:/\d+)?/?(?:[?#]\S*)?",
    re.IGNORECASE,
)
"""A Neuronpedia id, or the address of the page of an SAE or of one of its features, as a browser shows it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One SAE to download. `d_sae` is None where only the server can tell."""

    release: str
    sae_id: str
    neuronpedia_id: str
    d_sae: int | None

    @property
    def model_id(self) -> str:
        return self.neuronpedia_id.split("/")[0]

    @property
    def source_id(self) -> str:
        return self.neuronpedia_id.split("/")[1]

    @property
    def name(self) -> str:
        return f"{self.release} {self.sae_id}"

    def folder(self, data_dir: Path) -> Path:
        return sae_folder(data_dir, self.release, self.sae_id)


def sae_folder(data_dir: Path, release: str, sae_id: str) -> Path:
    """Return `<data-dir>/<release>/<sae_id>`, in both of which / is replaced by _.

    Raises: UsageError for a name that cannot be a folder.
    """
    _check(_RELEASE, release, "--sae-release")
    _check(_SAE_ID, sae_id, "--sae-id")
    return data_dir / release.replace("/", "_") / sae_id.replace("/", "_")


def resolve(release: str | None, sae_id: str | None, neuronpedia_id: str | None, d_sae: int | None) -> list[Target]:
    """Say which SAEs a command line means; a pattern as `sae_id` may mean many.

    Raises: UsageError for a name that nobody knows, with the nearest known ones.
    """
    if d_sae is not None and not 0 < d_sae <= MAX_FEATURES:
        raise UsageError(f"--num-features must be from 1 to {MAX_FEATURES:,}, not {d_sae:,}")
    if neuronpedia_id is not None:
        return [_overridden(release, sae_id, neuronpedia_id, d_sae)]
    if release is None:  # an empty name is none of the default's, but a variable that a script forgot to set
        release = DEFAULT_RELEASE
    _check(_RELEASE, release, "--sae-release")
    if sae_id is None and release == DEFAULT_RELEASE:
        sae_id = DEFAULT_SAE_ID
    if sae_id is None:
        raise UsageError(f"--sae-release {release} needs --sae-id; `saefetch list {release}` shows its SAEs")
    if registry.is_pattern(sae_id):
        saes = registry.match(release, sae_id)
        if not saes:
            raise UsageError(_unknown(release, sae_id))
    else:
        _check(_SAE_ID, sae_id, "--sae-id")
        sae = registry.find(release, sae_id)
        if sae is None:
            raise UsageError(_unknown(release, sae_id))
        saes = [sae]
    return [Target(sae.release, sae.sae_id, sae.neuronpedia_id, d_sae or sae.d_sae) for sae in saes]


def _overridden(release: str | None, sae_id: str | None, neuronpedia_id: str, d_sae: int | None) -> Target:
    """Make the target of a Neuronpedia id that the user named, or of the address of its page.

    Where the user named no release and id, they are those of the registry, or else the two parts of the Neuronpedia id.
    """
    neuronpedia_id = _check(_PAGE, neuronpedia_id.strip(), "--neuronpedia-id")[1]
    model, source = neuronpedia_id.split("/")
    known = registry.by_neuronpedia_id(neuronpedia_id)
    if known is None and (members := registry.of_source_set(model, source)):
        raise UsageError(
            f"--neuronpedia-id {neuronpedia_id} names a set of {len(members)} SAEs; name one of them, such as"
            f" --neuronpedia-id {members[0].neuronpedia_id}, or all by --sae-release and a pattern as --sae-id"
        )
    if (release is None) != (sae_id is None):
        raise UsageError("--neuronpedia-id goes with both --sae-release and --sae-id, or with neither")
    if sae_id is not None and registry.is_pattern(sae_id):
        raise UsageError(f"--neuronpedia-id names one SAE, but --sae-id {sae_id!r} is a pattern for many")
    if release is None or sae_id is None:
        release, sae_id = (known.release, known.sae_id) if known else (model, source)
    _check(_RELEASE, release, "--sae-release")
    _check(_SAE_ID, sae_id, "--sae-id")
    return Target(release, sae_id, neuronpedia_id, d_sae or (known.d_sae if known else None))


def _check(pattern: re.Pattern[str], value: str, flag: str) -> re.Match[str]:
    match = pattern.fullmatch(value)
    if match is None or ".." in value:
        shape = (
            "MODEL/SOURCE, or the address of its page" if pattern is _PAGE else "letters, digits and . _ - + = , @ ~"
        )
        raise UsageError(f"{flag} {value[:100]!r} is not a valid name: expected {shape}")
    return match


def _unknown(release: str, sae_id: str) -> str:
    nearest = registry.suggest(release, sae_id)[:2]
    here = all(sae.release == release for sae in nearest)
    names = [
        f"--sae-id {sae.sae_id}" if here else f"--sae-release {sae.release} --sae-id {sae.sae_id}" for sae in nearest
    ]
    hint = f" Did you mean {' or '.join(names)}?" if names else ""
    return (
        f"SAELens' registry maps no SAE {release} {sae_id} to Neuronpedia.{hint}"
        " `saefetch list` shows all; for one that is not there give --neuronpedia-id MODEL/SOURCE."
    )
