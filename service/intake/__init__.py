"""From what a client sends to canonical images and kept samples: one decoder, every limit."""
