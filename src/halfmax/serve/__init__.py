"""The service: a loaded predictor behind one object, an HTTP API, a store and a queue of jobs."""
