"""The knowledge domains: one folder of JSON each, and the loader that checks them."""
