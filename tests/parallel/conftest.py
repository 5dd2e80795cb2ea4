"""Functions that run in other processes stand in modules beside the tests; this finds them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
