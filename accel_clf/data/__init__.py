"""Rows: read, split, tokenized, batched.

demo_corpus   the built-in corpus, generated from a seed
texts         the text of a row: of one column, of several, or a pair
rows          rows with their other columns, which predictions keep
readers       strict readers of files and folders, a file a kind
incomplete    rows without a text or a label
dataset       labelled rows, whose texts are streamed and never held in memory
incomplete    rows without a text or a label
dataset       labelled rows, whose texts are streamed and never held in memory
near_duplicates texts that are nearly those of other rows
facts         what the rows of a data set are like, in a few numbers
twins         pairs whose order means nothing, and their twins, in one group
tables        the records of the demo, a file or a Hub data set
sources       these read as a dataset, or as rows to predict
likely_columns which columns look like text and label, for the message where these are missing
stratification rows with several labels, dealt to parts in even shares of each label; groups kept whole
splitting     holdout and folds: stratified, grouped; a function of labels, slices, groups and seed
splits        the training, validation and test rows of a configuration
windows       long texts in windows, as rows of tokens that are divided again where batches are made
tokenizers    what determines a tokenizer's output, and what stands for a text without tokens
tokenization  texts to token ids, once: on disk, memory-mapped
sampling      which rows form which batch: a function of seed, epoch and sizes
collate       rows to tensors: padded, bucketed to a few widths, or packed without padding
"""
