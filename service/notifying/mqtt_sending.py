"""Publishing messages to an MQTT broker, which the operator names: `pip install filopodia[mqtt]`.

One connection is kept and made again as needed. A message counts as delivered once the broker has it (QoS 1).
"""

import importlib
import json
import time
from threading import Event, Lock
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import structlog

from registry.deliveries import Claimed, Outcome
from service.notifying.messages import body_of

log = structlog.get_logger(__name__)

SCHEME = "mqtt:"
"""What the target of a subscription begins with whose messages go to the broker; its topic follows."""
PORTS = {"mqtt": 1883, "mqtts": 8883}
CONNECT_S = 5.0
PUBLISH_S = 10.0
KEEP_ALIVE_S = 30
QOS = 1


class MqttSender:
    """Publishes messages by one connection to the operator's broker."""

    def __init__(self, url: str | None, prefix: str) -> None:
        """Connect to nothing yet.

        Args:
            url: `mqtt://user:password@host:1883`, or `mqtts://`; None if there is no broker.
            prefix: What the topics of all messages begin with.
        """
        self._url = url
        self._prefix = prefix.strip("/")
        self._client: Any = None
        self._connecting = Lock()

    def send(self, message: Claimed) -> Outcome:
        """Try once, and return what came of it."""
        began = time.monotonic()
        error = self._publish(message)
        return Outcome(None, round(1000 * (time.monotonic() - began)), error)

    def close(self) -> None:
        """End the connection."""
        with self._connecting:
            self._drop()

    def topic_of(self, target: str) -> str:
        """Return the whole topic of a subscription.

        Example:
            >>> MqttSender(None, "filopodia/").topic_of("mqtt:garden/heron")
            'filopodia/garden/heron'
        """
        topic = target.removeprefix(SCHEME).strip("/")
        return f"{self._prefix}/{topic}" if self._prefix else topic

    def _publish(self, message: Claimed) -> str | None:
        if self._url is None:
            return "There is no MQTT broker: the operator sets FILOPODIA_MQTT_URL."
        body = {"id": message.id, **json.loads(body_of(message))}
        try:
            client = self._connected()
            info = client.publish(
                self.topic_of(message.target), json.dumps(body, ensure_ascii=False), qos=QOS
            )
            info.wait_for_publish(PUBLISH_S)
            if info.is_published():
                return None
        except ModuleNotFoundError:
            return "MQTT is not installed with the service: pip install filopodia[mqtt]."
        except (OSError, ValueError, RuntimeError) as error:
            log.info("mqtt_not_published", reason=type(error).__name__)
        with self._connecting:
            self._drop()
        return "The MQTT broker cannot be reached, or does not take the message."

    def _connected(self) -> Any:
        """Return the client, connected.

        Raises:
            OSError: If the broker cannot be reached, or refuses.
            ModuleNotFoundError: If paho-mqtt is not installed.
        """
        with self._connecting:
            if self._client is not None and self._client.is_connected():
                return self._client
            self._drop()
            self._client = _connect(str(self._url))
            return self._client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()


def _connect(url: str) -> Any:
    paho = importlib.import_module("paho.mqtt.client")
    parts = urlsplit(url)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.connect_timeout = CONNECT_S
    if parts.username is not None:
        password = None if parts.password is None else unquote(parts.password)
        client.username_pw_set(unquote(parts.username), password)
    if parts.scheme == "mqtts":
        client.tls_set_context(httpx.create_ssl_context())
    answered = Event()
    client.on_connect = client.on_disconnect = lambda *_: answered.set()
    client.connect(str(parts.hostname), parts.port or PORTS[parts.scheme], KEEP_ALIVE_S)
    client.loop_start()
    if not answered.wait(CONNECT_S) or not client.is_connected():
        client.loop_stop()
        raise OSError("the broker refuses")
    return client
