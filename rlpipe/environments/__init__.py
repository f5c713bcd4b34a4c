"""What a model plays with over several turns: games and tasks that answer what it writes."""
