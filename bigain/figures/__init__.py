"""Pictures of what operators do."""
