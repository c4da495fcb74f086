"""A run or a cross-validation while it trains, in a terminal.

progress  a run or a cross-validation in progress, as its folder has it
braille   curves of dots, for terminals
pictures  what `watch` shows of a run: curves, rate, memory, time left, evaluations
live      the same while it trains
"""
