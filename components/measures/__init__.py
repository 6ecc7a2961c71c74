"""What a generation is measured by, beside perplexity: pure functions of numpy arrays, without Ray, MLflow or torch.

`risk`: a family's error on real data, the one number of what a generation is worth.
`calibration`: whether a model is as sure as it is right.
`modes`: how many modes of the real data samples still tell apart.
`diversity`: how varied generated text still is (distinct n-grams, repetition, entropy, compression, vocabulary), and what it copied.
`tails`: what becomes of rare tokens and n-grams, against the real data.
`estimate`: a number with its standard error over blocks.
`spread`: how a measure varies over chains.
"""
