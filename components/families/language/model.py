"""temporary"""
import shutil, hashlib
from dataclasses import dataclass
from pathlib import Path
import torch
from transformers import OPTConfig, OPTForCausalLM

@dataclass(frozen=True)
class ModelSize:
    vocabulary_size: int
    hidden_size: int
    layers: int
    heads: int
    ffn_size: int
    positions: int
    dropout: float

def create(size, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OPTForCausalLM(OPTConfig(vocab_size=size.vocabulary_size, hidden_size=size.hidden_size, num_hidden_layers=size.layers, num_attention_heads=size.heads, ffn_dim=size.ffn_size, max_position_embeddings=size.positions, word_embed_proj_dim=size.hidden_size, dropout=size.dropout, bos_token_id=2, eos_token_id=2, pad_token_id=1))

def load(folder, dropout=None):
    kw = {} if dropout is None else {"dropout": dropout}
    return OPTForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **kw)

def save(model, folder, tokenizer_folder=None):
    model.save_pretrained(folder)
    if tokenizer_folder:
        for p in Path(tokenizer_folder).iterdir(): shutil.copy(p, Path(folder) / p.name)

def parameter_count(size):
    h, f = size.hidden_size, size.ffn_size
    return size.vocabulary_size*h + (size.positions+2)*h + size.layers*(4*h*h+4*h+2*h*f+h+f+4*h)+2*h
def flops_per_token(size):
    return 2*(parameter_count(size)-(size.positions+2)*size.hidden_size)
