"""Labels of another SAE would look just as plausible, so nothing is joined that is not known to belong together."""

from __future__ import annotations

from encoder.errors import MismatchError
from encoder.file.folder import Features
from saefetch.labels import Labels


def is_one_scale(features: Features) -> bool:
    """Say whether the values have the scale of Neuronpedia's figures; of older files, which do not say, they have."""
    return all(meta.get("value_scale") != "own" for meta in features.meta)


def check_same_sae(features: Features, labels: Labels) -> None:
    """Raises: MismatchError unless both are known to be of one SAE, by its name, its Neuronpedia id and its width."""
    theirs = {
        "sae_release": labels.release,
        "sae_id": labels.sae_id,
        "neuronpedia_id": labels.neuronpedia_id,
    }
    get = f"saefetch download --sae-release {labels.release} --sae-id {labels.sae_id}"
    for path, meta in zip(features.paths, features.meta, strict=True):
        if meta.get("neuronpedia_id") is None and meta.get("sae_path"):
            raise MismatchError(
                f"{path} was made with the SAE in {meta['sae_path']}, whose Neuronpedia id is not known; to see labels"
                " beside features, encode with --sae-release and --sae-id"
            )
        for name, label_side in theirs.items():
            ours = meta.get(name)
            if ours != label_side and not (ours is None and meta.get("sae_path")):
                raise MismatchError(
                    f"{path} and these labels are of different SAEs: {name} is {ours} for the features and {label_side}"
                    f" for the labels, which came by `{get}`; download the labels of the features' SAE"
                )
    if features.shape[1] != len(labels):
        raise MismatchError(
            f"the features have {features.shape[1]:,} columns, but there are labels for {len(labels):,}"
            f" ({labels.release} {labels.sae_id}); they are of different SAEs"
        )
