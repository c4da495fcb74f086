"""accel_clf: fine-tune any Hugging Face encoder into a text classifier, on whatever hardware is there, and serve it."""

__version__ = "0.1.0"
