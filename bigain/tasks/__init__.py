"""What is measured: classification, generation, time and FLOPs; pictures of operators."""
