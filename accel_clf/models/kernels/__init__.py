"""Faster forms of a model's operations; weights and their names stay as they are.

dropout             dropout that a CPU need not wait for
embedding_grad      gradients of embeddings on a CPU: only the rows that a step reads
attention           attention within each document of a packed batch, on a CPU
relative_attention  the same with scores that go by relative positions, too
rotary_attention    the same with rotary positions, windows and causality
first_token         the last layer at each document's first token only, on a CPU
relative_layers     layers with relative positions on packed tokens, on a CPU
repeated_layers     layers that are called repeatedly on packed tokens, on a CPU
pointwise           RMS norms and gated units in few passes over memory, on a CPU
gated_layer         prenorm layers with a gated feed-forward on packed tokens, on a CPU
varlen              the layers of a packed encoder on a GPU
fused_inference     a packed encoder for a CPU, of fewer operations, for inference only
"""
