"""Attacks on the API, and on a worker by the sites that its participants visit; and what others notice of them."""
