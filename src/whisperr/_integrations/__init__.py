"""Code that the integrations share: trackers, deferred events, settings, the default client."""
