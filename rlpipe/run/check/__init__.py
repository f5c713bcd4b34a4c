"""The rules that a composed config must meet, by what they look at; `check` runs them all."""
