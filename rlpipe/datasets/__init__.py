"""Rows and the forms that they take: reading, cleaning, splitting and converting them."""
