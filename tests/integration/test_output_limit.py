"""What a command prints reaches the caller, in bounded amounts."""

from pathlib import Path

import pytest

from asynckaniko import Builder, BuildRequest, Limits, Settings
from asynckaniko.errors import CommandFailed
from asynckaniko.events import Event, StepOutput


async def test_endless_output_is_cut_but_its_end_is_kept(
    tmp_path: Path, busybox_layout: Path
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    command = "yes | head -n 20000; echo the end; exit 3"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN {command}\n")
    settings = Settings(state_dir=tmp_path / "state", limits=Limits(output_size=1000))
    events: list[Event] = []
    request = BuildRequest(
        context=str(context), build_contexts={"busybox": f"oci-layout://{busybox_layout}"}
    )

    async with Builder(settings) as builder:
        with pytest.raises(CommandFailed) as caught:
            await builder.build(request, on_event=events.append)

    lines = [event.line for event in events if isinstance(event, StepOutput)]
    assert lines[:500] == ["y"] * 500
    assert len(lines) == 501
    assert "more than is shown" in lines[-1]
    assert caught.value.output[-1] == "the end"
    assert caught.value.exit_status == 3
