"""What the reference libraries change when they are first imported."""

import os

os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "True")  # by scikit-learn, as the next one
os.environ.setdefault("KMP_INIT_AT_FORK", "FALSE")
