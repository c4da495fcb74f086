"""Encoders with a classification head: loaded, saved, and made fast.

traits            what is particular about a kind of model
checks            what would fail on the device, detected before anything is there
padding           which token pads a model's rows, on which side
demo              the demo's tiny encoder and its tokenizer
pairs             how a model reads a pair of texts
head              the linear layer that a head ends in
equal_lengths     rows of equal length by themselves, for models that padding would change
mean_pooling      the mean of a text's tokens, as the head's input
unused            which weights get no gradient
loading           a Hub encoder with a head; load and save in the Hub's format
precision         precisions that a kind of model cannot compute in
families          how the encoders are built that have kernels here; how to add one
lora              adapters beside linear layers, saved alone and merged into them
checkpointing     layers computed again in the backward pass
freezing          which weights are trained: all, the upper layers, or adapters and the head
kernels           faster forms of a model's operations
windows           outputs of texts from those of their windows
packed            the padding-free forward of known families
kernel_selection  which kernels a model gets, when and why: the one place that decides
"""
