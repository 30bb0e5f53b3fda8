"""A local web page over labels and features: which features fire on which token, and what they mean."""
