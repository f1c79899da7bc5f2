"""Frozen encoders behind one stepwise interface."""
