"""A process that sends what waits until it is killed. Its arguments: the database, and its leases in seconds."""

import sys
from threading import Event

from registry.postgres.database import make_engine, make_session_factory
from service.metrics import Metrics
from service.notifying.addresses import Allowed
from service.notifying.http_sending import HttpSender
from service.notifying.mqtt_sending import MqttSender
from service.notifying.notifier import Notifier

if __name__ == "__main__":
    engine = make_engine(sys.argv[1], application_name="sending", statement_timeout_s=10)
    Notifier(
        make_session_factory(engine),
        http=HttpSender(Allowed.parse(["127.0.0.1"]), user_agent="killed"),
        mqtt=MqttSender(None, ""),
        metrics=Metrics(),
        look=lambda: False,
        lease_s=float(sys.argv[2]),
    ).start()
    Event().wait()
