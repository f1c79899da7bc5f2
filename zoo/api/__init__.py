"""What `import zoo` offers: a trained model with its adapter's preprocessing, and training as a function."""
