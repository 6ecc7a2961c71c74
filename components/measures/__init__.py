"""What a generation is measured by, beside perplexity: pure functions of numpy arrays, without Ray, MLflow or torch.

`diversity`: how varied generated text still is (distinct n-grams, repetition, entropy, compression, vocabulary), and what it copied.
`tails`: what becomes of rare tokens and n-grams, against the real data.
`spread`: how a measure varies over chains.
"""
