"""Run the command line as `python -m accel_clf.cli`."""

import sys

from accel_clf.cli.main import main

sys.exit(main())
