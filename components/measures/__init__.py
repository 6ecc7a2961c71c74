"""What a generation is measured by, beside perplexity: pure functions of numpy arrays, without Ray, MLflow or torch.

`diversity`: how varied generated text still is (distinct n-grams, repetition, vocabulary), on token ids.
`spread`: how a measure varies over chains.
"""
