"""Rows: read, split, tokenized, batched.

demo_corpus   the built-in corpus, generated from a seed
readers       strict readers of CSV, TSV, JSON Lines and Parquet
incomplete    rows without a text or a label
dataset       labelled rows, whose texts are streamed and never held in memory
near_duplicates texts that are nearly those of other rows
sources       the demo, a file or a Hub data set, read as a dataset
stratification rows with several labels, dealt to parts in even shares of each label; groups kept whole
splitting     holdout and folds: stratified, grouped; a function of labels, slices, groups and seed
splits        the training, validation and test rows of a configuration
tokenization  texts to token ids, once: on disk, memory-mapped
sampling      which rows form which batch: a function of seed, epoch and sizes
collate       rows to tensors: padded, bucketed to a few widths, or packed without padding
"""
