"""Pretraining of a language model: masked letters and alignment contrast."""
