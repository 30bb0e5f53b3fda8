"""What the configuration of an SAE says, key by key: the table of every trainer's keys, and what becomes of each.

    applied      the key decides which features are active, or their values; the loader obeys it
    told         the key says how the activations were made that the SAE was trained on. Rows that are there cannot be
                 changed by it; it goes into `meta`, for the user to compare with
    irrelevant   the key is about training, logging, or the way back from features to activations

A key with a value that the loader does not obey is refused; so is a key that stands in no table, unless it is empty or
its name says that it is about the training run. Sources: the configuration classes of sae-lens 0.1 to 6.54,
eai-sparsify 1.3, dictionary-learning 0.1, and the published configurations of Gemma Scope 2 and Llama Scope.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.errors import InputError

ANY = None
"""Every value is obeyed; the loader checks it."""
FLAG = (True, False)


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of one kind of configuration. `applied` has the values that are obeyed, or ANY."""

    name: str
    applied: Mapping[str, tuple[object, ...] | None]
    told: str
    irrelevant: str

    def treatment(self, key: str) -> str | None:
        """Return "applied", "told" or "irrelevant"; None for a key that is in no list."""
        lists = {"applied": self.applied, "told": self.told.split(), "irrelevant": self.irrelevant.split()}
        return next((name for name, keys in lists.items() if key in keys), None)

    def check(self, config: Mapping[str, Any], path: Path | str, *, is_vouched: bool = False) -> tuple[str, ...]:
        """Raise InputError for what is not obeyed; return notes.

        `is_vouched`: the SAE is one of SAELens' registry, whose loader was written for it; an unknown key is noted
        then.
        """
        notes = []
        for key, value in config.items():
            if key in self.applied:
                allowed = self.applied[key]
                if allowed is not None and not any(value == one and type(value) is type(one) for one in allowed):
                    known = ", ".join(map(repr, allowed))
                    raise InputError(
                        f"{path}: {key} is {value!r}, which is not supported: it decides the features, and only {known}"
                        f" can be applied; encode with the code that trained this SAE"
                    )
            elif self.treatment(key) is None and not _is_harmless(key, value):
                if not is_vouched:
                    raise InputError(
                        f"{path}: has the key {key!r} ({_short(value)}), which {self.name} is not known to write, and"
                        f" which could change the features. If it does not, take the key out of the file; if it does,"
                        f" convert the SAE with the code that trained it"
                    )
                notes.append(f"its configuration has the key {key!r} ({_short(value)}), which is not used")
        return tuple(notes)

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the configuration tells of the activations that the SAE was trained on, fit for JSON."""
        return {key: config[key] for key in self.told.split() if config.get(key) is not None and _is_json(config[key])}


SAE_LENS = Table(
    "SAELens",
    applied={
        "architecture": ANY, "d_in": ANY, "d_sae": ANY, "d_out": ANY, "k": ANY, "metadata": ANY,
        "activation_fn": ("relu", "topk", None), "activation_fn_str": ("relu", "topk", None),
        "activation_fn_kwargs": ANY,
        "apply_b_dec_to_input": FLAG,
        "normalize_activations": (
            "none", "expected_average_only_in", "layer_norm", "constant_norm_rescale", "covariance_whitening", None,
            *FLAG,
        ),
        "reshape_activations": ("none", "hook_z"),
        "rescale_acts_by_decoder_norm": FLAG,
        "residual_threshold": ANY, "max_iterations": ANY, "stop_on_duplicate_support": FLAG,  # matching pursuit
        # A temporal SAE is refused as a whole.
        "n_heads": ANY, "n_attn_layers": ANY, "bottleneck_factor": ANY, "sae_diff_type": ANY, "kval_topk": ANY,
        "tied_weights": ANY, "activation_normalization_factor": ANY,
    },
    told="""
        model_name hook_name hook_point hook_layer hook_point_layer hook_head_index hook_point_head_index
        hf_hook_name hook_name_out hf_hook_name_out hook_head_index_out model_class_name model_kwargs
        model_from_pretrained_kwargs prepend_bos context_size seqpos_slice exclude_special_tokens
        use_chat_formatting disable_concat_sequences sequence_separator_token dataset_path is_dataset_tokenized
    """,
    irrelevant="""
        device dtype sae_lens_version sae_lens_training_version neuronpedia_id dataset_trust_remote_code
        finetuning_scaling_factor finetuning_method finetuning_tokens normalize_sae_decoder
        from_pretrained_path b_dec_init_method expansion_factor noise_scale decoder_orthogonal_init
        decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm init_encoder_as_decoder_transpose
        n_batches_in_buffer training_tokens store_batch_size_prompts train_batch_size_tokens hook_eval
        hook_point_eval streaming use_cached_activations cached_activations_path act_store_device llm_device
        prefetch_llm_batches activations_mixing_fraction seed autocast autocast_lm compile_llm
        llm_compilation_mode compile_sae sae_compilation_mode adam_beta1 adam_beta2 mse_loss_normalization
        l1_coefficient l1_warm_up_steps lp_norm l0_coefficient l0_warm_up_steps target_l0
        scale_sparsity_penalty_by_decoder_norm lr lr_scheduler_name lr_warm_up_steps lr_end lr_decay_steps
        n_restart_cycles use_ghost_grads feature_sampling_window dead_feature_window dead_feature_threshold
        n_eval_batches eval_batch_size_prompts log_to_wandb log_activations_store_to_wandb
        log_optimizer_state_to_wandb log_weights_to_wandb wandb_project wandb_id run_name wandb_entity
        wandb_log_frequency eval_every_n_wandb_logs resume n_checkpoints checkpoint_path output_path
        save_final_checkpoint resume_from_checkpoint verbose n_batches_for_norm_estimate logger tokens_per_buffer
        jumprelu_init_threshold jumprelu_bandwidth jumprelu_sparsity_loss_mode jumprelu_tanh_scale
        jumprelu_ste_to_input pre_act_loss_coefficient aux_loss_coefficient use_sparse_activations
        topk_threshold_lr matryoshka_widths use_matryoshka_aux_loss
        total_training_tokens total_training_steps store_batch_size train_batch_size feature_sampling_method
        feature_reinit_scale resample_batches dead_feature_estimation_method unique_id
    """,
)  # fmt: skip
"""Irrelevant are the dtype (weights become float32), what only the way back has, and what only training has."""

SPARSIFY = Table(
    "sparsify",
    applied={
        "activation": ("topk",), "d_in": ANY, "num_latents": ANY, "expansion_factor": ANY, "k": ANY,
        "transcode": FLAG, "signed": (False,),
    },
    told="hookpoint layer model dataset ctx_len",
    # normalize_decoder and multi_topk are about training; the skip connection is part of a transcoder's output.
    irrelevant="normalize_decoder multi_topk skip_connection",
)  # fmt: skip

GEMMA_SCOPE_2 = Table(
    "Gemma Scope 2",
    applied={"architecture": ("jump_relu",), "width": ANY, "type": ANY},
    told="model_name hf_hook_point_in hf_hook_point_out layer site hook_point",
    irrelevant="l0 affine_connection",
)

DICTIONARY_LEARNING = Table(
    "dictionary_learning",
    applied={"dict_class": ANY, "activation_dim": ANY, "dict_size": ANY, "k": ANY},
    told="layer lm_name submodule_name",
    irrelevant="""
        norm_factor trainer_class lr steps seed device wandb_name warmup_steps decay_start sparsity_warmup_steps
        resample_steps l1_penalty initial_sparsity_penalty sparsity_penalty sparsity_function
        sparsity_queue_length sparsity_update_steps p_start p_end n_sparsity_updates anneal_start anneal_end
        bandwidth target_l0 auxk_alpha top_k_aux threshold_beta threshold_start_step group_fractions
        group_weights group_sizes
    """,
)
"""norm_factor is irrelevant: biases are multiplied by it before they are saved, so the weights take raw activations."""

LLAMA_SCOPE = Table(
    "Llama Scope",
    applied={
        "d_model": ANY, "d_sae": ANY, "expansion_factor": ANY, "jump_relu_threshold": ANY, "top_k": ANY,
        "dataset_average_activation_norm": ANY, "norm_activation": ("dataset-wise",),
        "act_fn": ("jumprelu", "JumpReLU"), "use_glu_encoder": (False,),
        "apply_decoder_bias_to_pre_encoder": (False,), "sparsity_include_decoder_norm": FLAG,
    },
    told="hook_point_in hook_point_out",
    irrelevant="""
        sae_type dtype device name lp l1_coefficient l1_coefficient_warmup_steps use_decoder_bias use_triton_kernel
        init_encoder_with_decoder_transpose init_encoder_norm init_decoder_norm decoder_exactly_fixed_norm
        bias_init_method k_warmup_steps initial_k use_batch_norm_mse use_ghost_grads tp_size ddp_size seed
        remove_gradient_parallel_to_decoder_directions sae_pretrained_name_or_path strict_loading exp_name exp_series
        exp_result_dir hook_points sparsity_threshold_for_triton_spmm_kernel
    """,
)  # fmt: skip

CROSSCODER = Table(
    "crosscoder-model-diff-replication",
    applied={"d_in": ANY, "dict_size": ANY},
    told="model_name hook_point site seq_len",
    irrelevant="""
        seed batch_size buffer_mult lr num_tokens l1_coeff beta1 beta2 enc_dtype device model_batch_size log_every
        save_every dec_init_norm wandb_project wandb_entity
    """,
)

BATCHTOPK = Table(
    "BatchTopK",
    applied={"sae_type": ANY, "top_k": ANY, "act_size": ANY, "dict_size": ANY, "input_unit_norm": FLAG},
    told="model_name hook_point layer site seq_len dataset_path",
    irrelevant="""
        seed batch_size lr num_tokens l1_coeff beta1 beta2 max_grad_norm dtype device model_batch_size
        num_batches_in_buffer wandb_project perf_log_freq checkpoint_freq n_batches_to_dead top_k_aux aux_penalty
        bandwidth name
    """,
)

LM_SAES = Table(
    "Language-Model-SAEs",
    applied={
        "sae_type": ("sae",), "d_model": ANY, "d_sae": ANY, "expansion_factor": ANY, "top_k": ANY,
        "use_decoder_bias": FLAG, "act_fn": ("jumprelu", "JumpReLU", "relu", "ReLU", "topk", "TopK"),
        "norm_activation": ("dataset-wise", "inference"), "sparsity_include_decoder_norm": FLAG,
        "use_glu_encoder": (False,), "apply_decoder_bias_to_pre_encoder": (False,),
    },
    told="hook_point_in hook_point_out model_name",
    irrelevant=f"""
        {LLAMA_SCOPE.irrelevant} jumprelu_threshold_window promote_act_fn_dtype jump_relu_threshold
        activation_fn_dtype
    """,
)  # fmt: skip
"""Thresholds stand in the weights; jump_relu_threshold is of an earlier version, and unused in this."""

_TRAINING = re.compile(
    r"(^|_)(wandb|lr|adam|optim\w*|seed|loss|log\w*|eval\w*|dataset\w*|data|epochs?|checkpoint\w*|ckpt\w*|save\w*|train\w*"
    r"|author\w*|license|url|notes?|description|comment|tags?|citation|date|created\w*|version|commit|git\w*|run)($|_)"
)
_ENCODING = re.compile(
    r"norm|scal|activ|threshold|bias|center|mean|whiten|shift|gain|clamp|topk|top_k|relu|gate|encod|input|quant|temperature"
    r"|mask|reshape|hook"
)


def _is_harmless(key: str, value: Any) -> bool:
    """Say whether an unknown key cannot change features: it is empty, or its name is about the training run alone."""
    if value is None or value in ("", [], {}):
        return True
    return bool(_TRAINING.search(key)) and not _ENCODING.search(key)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
