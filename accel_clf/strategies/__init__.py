"""What drives the hardware.

base            the narrow seam between the training loop and the hardware
precision       the precision of matrix products that suits a device
rendezvous      how a job's processes find each other again after a restart
process_groups  when groups of processes are freed
loader          Accelerate's loader of this process's share
fsdp            weights sharded among processes
accelerate      CPU and GPUs by Accelerate
xla             XLA cores, of a TPU or virtual
launch          which strategy runs here, and who starts its processes or cores
"""
