"""The entry point of the web server."""

from api.app import create_app

app = create_app()
