"""temporary"""
import numpy as np, torch
from torch.nn import functional
def token_losses(model, blocks, *, batch_size=32, progress=lambda d,t: None):
    model.eval()
    out=[np.zeros((0,blocks.shape[1]-1),np.float32)]
    device=next(model.parameters()).device
    with torch.no_grad():
        for i in range(0,len(blocks),batch_size):
            ids=torch.from_numpy(blocks[i:i+batch_size].astype(np.int64)).to(device)
            logits=model(input_ids=ids,use_cache=False).logits[:,:-1].float()
            out.append(functional.cross_entropy(logits.flatten(0,1),ids[:,1:].flatten(),reduction="none").view(len(ids),-1).cpu().numpy())
            progress(min(i+batch_size,len(blocks)),len(blocks))
    return np.concatenate(out)
def sequence_losses(losses): return losses.astype(np.float64).mean(axis=1)
def perplexity(losses, blocks, separator=None):
    keep=np.ones(losses.shape,bool) if separator is None else blocks[:,1:]!=separator
    return float(np.exp(losses[keep].mean(dtype=np.float64)))
