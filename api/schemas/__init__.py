"""The shapes of requests and responses (marshmallow), which the OpenAPI document is made from."""
