"""Datasets in a fixed order, with stable image ids."""
