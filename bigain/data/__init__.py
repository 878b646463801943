"""Datasets in one fixed order, with stable image ids."""
