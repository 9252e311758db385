"""What `service.http.protocol` and `service.server` lean on that uvicorn does not promise: look there if one fails."""

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl

PROTOCOL = httptools_impl.HttpToolsProtocol
PARTS = [
    (PROTOCOL.__init__, ("app", "pipeline", "cycle", "headers", "timeout_keep_alive_task")),
    (PROTOCOL.connection_made, ("self.flow = FlowControl(transport)", "self.client")),
    (PROTOCOL.data_received, ("self._unset_keepalive_if_required", "feed_data", "send_400_response")),
    (PROTOCOL.on_headers_complete, ("self.pipeline.appendleft", "on_response=self.on_response_complete")),
    (PROTOCOL.on_response_complete, ("self.pipeline.pop()", "self.flow.resume_reading()")),
    (PROTOCOL.timeout_keep_alive_handler, ("self.transport.close()",)),
    (PROTOCOL.shutdown, ("self.cycle.keep_alive = False",)),
    (httptools_impl.RequestResponseCycle.send, ("self.disconnected", "self.keep_alive", "self.response_started",
                                                "self.expected_content_length -= num_bytes",
                                                "self.transport.close()", "self.on_response()")),
    (httptools_impl.RequestResponseCycle.receive, (
        "self.message_event", "self.disconnected", "self.flow.resume_reading()")),
    (flow_control.FlowControl, ("read_paused", "write_paused", "pause_reading", "resume_reading")),
    (uvicorn.Server._serve, ("self.lifespan = ", "self.startup(", "self.shutdown(")),
    (uvicorn.Server.startup, ("await self.lifespan.startup()", "create_server", "config.http_protocol_class")),
    (uvicorn.Server.on_tick, ("self.should_exit",)),
    (uvicorn.Server.shutdown, ("server.close()", "connection.shutdown()", "timeout_graceful_shutdown")),
    (uvicorn.Server.handle_exit, ("self._captured_signals.append", "self.should_exit", "self.force_exit")),
]  # fmt: skip


@pytest.mark.parametrize(("part", "needed"), PARTS, ids=[part.__qualname__ for part, _ in PARTS])
def test_what_is_leaned_on_is_there(part, needed):
    source = inspect.getsource(part)
    assert [name for name in needed if name not in source] == []
