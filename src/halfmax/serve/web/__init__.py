"""The pages: server-rendered, on the same service as the API."""
