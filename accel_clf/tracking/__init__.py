"""A run in experiment trackers, fed from its folder.

Training writes metrics.jsonl and knows no tracker. A process beside it, one for each tracker, reads that file and sends
what the tracker has not got yet: whatever a tracker does, it holds no step, and whatever was not sent is sent by the
next start of the same command.

note       what is known of a run in one tracker, in the run folder
content    what trackers are told of a run: settings, lines of metrics.jsonl, results
backend    what they have in common, around Accelerate's classes
local      TensorBoard, MLflow, trackio, which are asked what they have
hosted     others, which need accounts or servers
backends   one class for each tracker
follower   the process beside training: what is written is sent
followers  these processes as training has them: started, and ended within bounds
"""
