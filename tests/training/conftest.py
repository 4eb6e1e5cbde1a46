"""torch sets this variable when a model class is first imported; here it is set before the guards look."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "tunebridge-torchinductor"))
