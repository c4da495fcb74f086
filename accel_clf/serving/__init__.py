"""A run over HTTP; this process needs no torch.

schema       requests and responses, and what the API's description is made of
errors       why a request is not answered
batcher      many requests, one model: batches of similar length
worker       the model in a process of its own
service      texts to scores for many threads
prometheus   counts and times
occlusion    which words matter
file_upload  an uploaded file, and the same file with its labels
middleware   what holds for every request
routes       the routes
app          create_app
server       the application under waitress; ended without losing a request
"""
