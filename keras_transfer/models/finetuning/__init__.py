"""Fine-tuning: a pretrained encoder, few labels."""
