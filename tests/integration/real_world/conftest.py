from tests.support.builders import builder

__all__ = ["builder"]
