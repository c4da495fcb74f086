"""The command line.

arguments  what several commands share
runner     jobs that can be interrupted and resumed
train      accel-clf train
cv         accel-clf cv
parity     accel-clf parity
evaluate   accel-clf evaluate
compare    accel-clf compare
predict    accel-clf predict
watch      accel-clf watch
serve      accel-clf serve
report     accel-clf report
push       accel-clf push
doctor     accel-clf doctor
main       finds the command
__main__   python -m accel_clf.cli
"""
