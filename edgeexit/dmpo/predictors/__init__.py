"""What gives an exit's logits: linear, second-order, local and global predictors."""
