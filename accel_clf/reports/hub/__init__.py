"""A run on the Hugging Face Hub, with a model card by its numbers.

markdown        words from data, in Markdown
card_intervals  95% intervals, by what a run has kept
card_metrics    what metrics are called
card_sources    where rows came from
card_facts      what a model card tells of a run, read from its folder
card_metadata   the metadata of a model card, and what the Hub takes of it
card_usage      how a pushed model is used
card_constants  what one answer for all rows achieves
card_limits     where a model fails, as its numbers say
model_card      the card
package         the files of a repository that holds a run
push            pushes them to the Hub
"""
