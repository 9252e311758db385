import socket

import pytest

from service.cli.local.demo_process import ServiceProcess, ServiceStartError, free_port


def test_a_free_port_can_be_listened_on():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))


@pytest.mark.slow
def test_a_service_that_cannot_start_says_why(tmp_path):
    service = ServiceProcess(tmp_path / "data", environment={"FILOPODIA_DEVICE": "toaster"})
    with pytest.raises(ServiceStartError, match="FILOPODIA_DEVICE must be auto, cpu"):
        service.start()
    service.stop()


def test_a_service_never_started_has_no_process(tmp_path):
    with pytest.raises(RuntimeError, match="not been started"):
        _ = ServiceProcess(tmp_path).pid
