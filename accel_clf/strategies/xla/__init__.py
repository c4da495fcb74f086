"""XLA cores, by Accelerate and by raw torch_xla, of a TPU or virtual.

detect      which cores there are, or are asked for; imports no torch
virtual     N XLA cores on any CPU
spawn       cores started together and ended together
graphs      compiled graphs: announced and counted
base        what both strategies share
torch_xla   raw torch_xla: the documents' recipe
accelerate  Accelerate
"""
