"""The HTTP server for a run; its process does not import torch.

schema       request and response models, from which the OpenAPI description is generated
errors       the reasons for refusing a request, and error responses
batcher      dynamic batching: rows of concurrent requests in batches of similar length
worker       the model in a separate process
supervisor   that process, replaced when it ends
tokenizer    texts to token ids, in the threads of their requests
python_tokenizer the same by a tokenizer that is written in Python
service      admission and scores for concurrent requests
prometheus   Prometheus metrics
occlusion    word importance
cors         headers for pages of other sites
file_upload  uploaded files, returned with labels
middleware   request ids, authentication, response headers, errors as JSON
routes       the endpoints
report_page  the run's report, where its folder has one
live_report  a run's report on this machine alone, while it trains
openapi      what the API's description says of texts
app          create_app, the Flask application
server       the application under waitress, with graceful shutdown
"""
