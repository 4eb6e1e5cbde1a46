"""The one pass over files of any size: blocks become batches, batches become a report and two splits."""
