"""Real servers, images and readers for the tests; nothing here is imported by the package."""
