"""Beam search of OPT on a CPU by other engines: CTranslate2 and OpenVINO GenAI, each as one function of prompts.

Neither is among the project's dependencies: `make peers` installs both.
Tokens are ids throughout, so a model needs no tokenizer. Both engines ban `</s>` before they normalise the
probabilities of a step, transformers and this project after it: where the model gives `</s>` a probability that
varies, scores and with them the best beam can differ by that alone.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, OPTForCausalLM
from transformers.cache_utils import DynamicLayer

from components.families.language.model import load

Generate = Callable[[np.ndarray], np.ndarray]
"""Prompts, int32 (n, prompt length), one batch -> the best beams' continuations, int32 (n, new_tokens)."""


def ctranslate2_generator(
    folder: Path, scratch: Path, *, compute_type: str, threads: int, new_tokens: int, num_beams: int
) -> Generate:
    """CTranslate2 on the OPT in `folder`, converted below `scratch`.

    Args:
        compute_type: "float32" or "int8" (weights and the inputs of matrix products, the rest in float32).

    Raises:
        ImportError: ctranslate2 is not installed.
    """
    import ctranslate2
    from ctranslate2.converters.transformers import OPTLoader

    model = load(folder)
    # Its own converter, less the tokenizer that it would look for: the token of an id is the id in writing.
    names = [str(token) for token in range(model.config.vocab_size)]
    with torch.no_grad():
        specification = OPTLoader().get_model_spec(model)
        specification.register_vocabulary(names)
        specification.config.eos_token = specification.config.bos_token = names[model.config.eos_token_id]
        specification.config.unk_token = names[model.config.pad_token_id]
        specification.validate()
        specification.optimize(quantization="float32")
        target = _new_folder(scratch, "ctranslate2-")
        specification.save(str(target))
    generator = ctranslate2.Generator(
        str(target), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
    )

    def generate(prompts: np.ndarray) -> np.ndarray:
        results = generator.generate_batch(
            [[names[token] for token in prompt] for prompt in prompts.tolist()],
            beam_size=num_beams,
            min_length=new_tokens,
            max_length=new_tokens,
            include_prompt_in_result=False,  # reads a prompt in one pass
        )
        return np.array([result.sequences_ids[0] for result in results], np.int32)

    return generate


def openvino_generator(
    folder: Path, scratch: Path, *, precision: str, threads: int, new_tokens: int, num_beams: int
) -> Generate:
    """OpenVINO GenAI, with continuous batching and paged attention, on the OPT in `folder`, converted below `scratch`.

    Args:
        precision: "fp32" or "bf16", of products, activations and the cache of keys and values.

    Raises:
        ImportError: openvino or openvino_genai is not installed.
        RuntimeError: bf16 on a processor without it, where OpenVINO would silently take fp32.
    """
    import openvino
    import openvino_genai

    if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("this processor has no bf16 instructions")
    model = load(folder)
    target = _new_folder(scratch, "openvino-")
    openvino.save_model(_openvino_model(model), target / "openvino_model.xml", compress_to_fp16=False)

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = scheduler.max_num_seqs = 1 << 20  # a batch is the caller's choice
    scheduler.enable_prefix_caching = False  # prompts have nothing in common
    number = {"fp32": "f32", "bf16": "bf16"}[precision]
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": number,
        "KV_CACHE_PRECISION": number,  # else 8 bits
        "sampler_num_threads": threads,
    }
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(target), scheduler, "CPU", properties)
    # The exported model bans `</s>`, because GenAI's beam search heeds neither `min_new_tokens` nor `ignore_eos`.
    settings = openvino_genai.GenerationConfig(max_new_tokens=new_tokens, num_beams=num_beams)
    settings.set_eos_token_id(model.config.eos_token_id)  # it must have one

    def generate(prompts: np.ndarray) -> np.ndarray:
        rows = [openvino.Tensor(prompt[None].astype(np.int64)) for prompt in prompts]
        results = pipeline.generate(rows, [settings] * len(rows))
        return np.array([result.m_generation_ids[0] for result in results], np.int32)

    return generate


def _new_folder(scratch: Path, prefix: str) -> Path:
    # Never one used before: OpenVINO reads weights from the file for as long as a model lives.
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=scratch))


class _Step(nn.Module):
    """An OPT as a function of ids, positions and what is cached, to logits and what to cache; `</s>` never wins."""

    def __init__(self, model: OPTForCausalLM) -> None:
        super().__init__()
        self.model = model
        ban = torch.zeros(model.config.vocab_size)
        ban[model.config.eos_token_id] = -1e4
        self.register_buffer("ban", ban)

    def forward(self, input_ids: Tensor, position_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        cache = DynamicCache()
        for keys, values in zip(past[::2], past[1::2], strict=True):
            layer = DynamicLayer()  # filled by hand: `update` begins with an empty tensor that does not convert
            layer.keys, layer.values, layer.is_initialized = keys, values, True
            cache.layers.append(layer)
        # A mask of its own, because transformers' making of one cannot be traced.
        seen = past[0].shape[2]
        queries = seen + torch.arange(input_ids.shape[1])
        causal = torch.arange(seen + input_ids.shape[1]) <= queries[:, None]
        logits = self.model(
            input_ids=input_ids, position_ids=position_ids, attention_mask=causal[None, None], past_key_values=cache
        ).logits
        return logits + self.ban, *(states for layer in cache.layers for states in (layer.keys, layer.values))


def _openvino_model(model: OPTForCausalLM) -> Any:
    """An `openvino.Model` with the inputs, names and state that GenAI expects, as optimum-intel would export it.

    optimum-intel itself wants an older transformers than this project's.
    """
    import openvino
    from openvino import opset13
    from openvino._offline_transformations import apply_make_stateful_transformation

    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    head_size = model.config.hidden_size // heads
    ids, past = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, heads, 4, head_size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing notes every `if` on a shape
        converted = openvino.convert_model(_Step(model), example_input=(ids, ids, *[past] * (2 * layers)))

    states = [f"{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]
    inputs, outputs = [f"past.{state}" for state in states], [f"present.{state}" for state in states]
    for port, name in zip(converted.inputs, ["input_ids", "position_ids", *inputs], strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(converted.outputs, ["logits", *outputs], strict=True):
        port.get_tensor().set_names({name})

    # What is cached becomes the model's state, its rows selected by `beam_idx`: GenAI replaces that by paged attention.
    beam_idx = opset13.parameter([-1], dtype=np.int32, name="beam_idx")
    beam_idx.output(0).get_tensor().set_names({"beam_idx"})
    for name in inputs:
        port = converted.input(name)
        readers = port.get_target_inputs()
        selected = opset13.gather(port, beam_idx, opset13.constant(0))
        for reader in readers:
            reader.replace_source_output(selected.output(0))
    converted.add_parameters([beam_idx])
    apply_make_stateful_transformation(converted, dict(zip(inputs, outputs, strict=True)))
    # Empty at first; said in so many words, as GenAI finds the cache by it.
    batch = opset13.gather(opset13.shape_of(converted.input("input_ids")), opset13.constant([0]), opset13.constant(0))
    shape = opset13.concat([batch, opset13.constant([heads, 0, head_size])], 0)
    for operation in converted.get_ops():
        if operation.get_type_name() == "ReadValue":
            operation.set_arguments([opset13.broadcast(opset13.constant(np.float32(0)), shape)])
    return converted
