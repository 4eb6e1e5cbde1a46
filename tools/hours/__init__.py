"""The constants of the model of time: fitted on published runs, and judged on runs and sources that were left out."""
