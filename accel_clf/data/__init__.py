"""Rows: read, placed, tokenized, batched.

demo_corpus   the built-in corpus, generated from a seed
readers       strict readers of CSV, TSV, JSON lines and Parquet
dataset       labelled rows whose texts are streamed, never held
sources       the demo, a file or a Hub data set as a dataset
splitting     holdout and folds: stratified, grouped; a function of labels, slices, groups and seed
splits        a configuration's training, validation and test rows
tokenization  texts to token ids once, on disk, memory-mapped
sampling      which rows make which batch: a function of seed, epoch and sizes
collate       rows to tensors: padded, bucketed to few widths, or packed without padding
"""
