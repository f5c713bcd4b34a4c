"""What can be asked for: schema, plugins, options, composing, and which fields matter for what."""
