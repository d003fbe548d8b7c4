"""Controls that fit inputs of their own: what fine-tuning has to beat, on the same rows."""
