"""The rows around the features: model, source set and source, as the API nests them and the export lists them."""

from collections.abc import Sequence
from typing import Any, Final

from standin.world import Source

CREATOR_ID: Final = "clkht01d40000jv08hvalcvly"
CREATED_AT: Final = "2026-11-22T18:34:00.673Z"


def source_set(source: Source) -> str:
    """Return the name of the source set: `gemmascope-res-16k` of `16-gemmascope-res-16k`."""
    return source.source_id.partition("-")[2] or source.source_id


def hook_name(source: Source) -> str:
    """Return the hook that the source reads."""
    layer = source.source_id.partition("-")[0]
    return f"blocks.{layer if layer.isdigit() else 0}.hook_resid_post"


def model_record(source: Source) -> dict[str, Any]:
    """Return the row of the table Model."""
    name = source.model_id
    return {
        "id": name,
        "displayNameShort": name,
        "displayName": name,
        "creatorId": CREATOR_ID,
        "tlensId": name,
        "openRouterId": None,
        "dimension": 2304,
        "thinking": False,
        "visibility": "PUBLIC",
        "defaultSourceSetName": source_set(source),
        "defaultSourceId": source.source_id,
        "defaultGraphSourceSetName": None,
        "inferenceEnabled": True,
        "instruct": False,
        "layers": 26,
        "neuronsPerLayer": 9216,
        "createdAt": CREATED_AT,
        "owner": "Google",
        "updatedAt": CREATED_AT,
        "website": f"https://huggingface.co/google/{name}",
    }


def source_record(source: Source) -> dict[str, Any]:
    """Return the row of the table Source; `saelensConfig.d_sae` is the number of features."""
    layer = source.source_id.partition("-")[0]
    config = {
        "d_in": 2304,
        "d_sae": source.n_features,
        "dtype": "float32",
        "hook_name": hook_name(source),
        "hook_layer": int(layer) if layer.isdigit() else 0,
        "model_name": source.model_id,
        "architecture": "jumprelu",
        "context_size": 1024,
        "apply_b_dec_to_input": False,
        "neuronpedia_id": f"{source.model_id}/{source.source_id}",
    }
    return {
        "id": source.source_id,
        "modelId": source.model_id,
        "hasDashboards": True,
        "inferenceEnabled": True,
        "saelensConfig": config,
        "saelensRelease": None,
        "saelensSaeId": None,
        "hfRepoId": None,
        "hfFolderId": None,
        "visibility": "PUBLIC",
        "defaultOfModelId": None,
        "setName": source_set(source),
        "creatorId": CREATOR_ID,
        "hasUmap": False,
        "hasUmapLogSparsity": False,
        "hasUmapClusters": False,
        "num_prompts": 24576,
        "num_tokens_in_prompt": 128,
        "dataset": "monology/pile-uncopyrighted",
        "notes": None,
        "cosSimMatchModelId": None,
        "cosSimMatchSourceId": None,
        "createdAt": CREATED_AT,
    }


def source_set_record(source: Source) -> dict[str, Any]:
    """Return the row of the table SourceSet."""
    return {
        "modelId": source.model_id,
        "name": source_set(source),
        "hasDashboards": True,
        "allowInferenceSearch": True,
        "visibility": "PUBLIC",
        "description": "Residual Stream",
        "type": "SAE",
        "creatorName": "made up",
        "urls": [],
        "creatorEmail": None,
        "creatorId": CREATOR_ID,
        "releaseName": "stand-in",
        "hasGraphs": False,
        "graphEnabled": False,
        "similarityMatrixEnabled": False,
        "defaultOfModelId": None,
        "defaultGraphModelId": None,
        "defaultRange": 2,
        "defaultShowBreaks": True,
        "showDfa": False,
        "showCorrelated": False,
        "showHeadAttribution": False,
        "showUmap": False,
        "createdAt": CREATED_AT,
    }


def source_set_answer(sources: Sequence[Source]) -> dict[str, Any]:
    """Return what the API says of a source set: its row and those of its sources."""
    return {**source_set_record(sources[0]), "sources": [source_record(source) for source in sources]}


def surroundings(source: Source) -> dict[str, Any]:
    """Return what the answer for a single feature has beside the feature."""
    return {
        "model": model_record(source),
        "lists": [],
        "creator": {"name": "bot"},
        "source": source_record(source),
        "sourceSet": source_set_record(source),
        "comments": [],
    }
