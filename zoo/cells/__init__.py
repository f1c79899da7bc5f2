"""Methods beside one another on several pairings: plan, budgets, trainings, what they cost and forget, page."""
