"""The conformance kit, shipped for plugin authors: what every backend must hold, a fake backend, faults to provoke."""
