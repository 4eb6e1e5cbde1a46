"""What the plugins of Amazon's services share: sessions, errors, S3, and the parts of their emulators. No plugin."""
