import orjson

from asynckaniko.batch.manifest import make_schema, read_schema


def test_shipped_schema_is_that_of_the_code() -> None:
    assert read_schema() == make_schema()


def test_schema_knows_every_field_of_an_image() -> None:
    fields = orjson.loads(read_schema())["$defs"]["ImageFields"]

    assert fields["additionalProperties"] is False
    assert {"matrix", "inherits", "contexts", "platforms", "timeout"} <= set(fields["properties"])
