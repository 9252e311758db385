"""Publishing to a real broker, which runs in this process."""

import asyncio
import json
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import paho.mqtt.client as paho
import pytest
from amqtt.broker import Broker

from service.notifying.mqtt_sending import MqttSender
from tests.service.notifying.receivers import MESSAGE
from tests.waiting import PACE

POND = replace(MESSAGE, target="mqtt:pond/heron")


@contextmanager
def broker(port=0):
    """Run a broker, and yield its port."""
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": plugins,
    }
    loop = asyncio.new_event_loop()
    started, ending = threading.Event(), asyncio.Event()

    async def run():
        running = Broker(config, loop=loop)
        await running.start()
        started.set()
        await ending.wait()
        await running.shutdown()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert started.wait(PACE.scaled(30))
        yield port
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()


@contextmanager
def listening(port, topic):
    """Subscribe as any program would, and yield what comes."""
    got, came, ready = [], threading.Semaphore(0), threading.Event()

    def note(client, _, message):
        got.append((message.topic, message.qos, json.loads(message.payload)))
        came.release()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_message = note
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(PACE.scaled(30))
    try:
        yield got, came
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def senders():
    """Makes senders, and closes them."""
    made = []

    def make(url, prefix="home"):
        made.append(MqttSender(url, prefix))
        return made[-1]

    yield make
    for sender in made:
        sender.close()


def test_a_message_is_published_below_the_prefix(senders):
    with broker() as port, listening(port, "home/#") as (got, came):
        sender = senders(f"mqtt://127.0.0.1:{port}")
        assert [sender.send(POND).error for _ in range(2)] == [None, None]
        for _ in range(2):
            assert came.acquire(timeout=PACE.scaled(30))
        sender.close()
    topic, qos, body = got[0]
    assert (topic, qos) == ("home/pond/heron", 1)
    assert (body["id"], body["type"]) == ("msg_1", "prediction.made")
    assert body["data"] == MESSAGE.data


def test_a_broker_that_was_started_again_is_found_again(senders):
    with broker() as port:
        sender = senders(f"mqtt://127.0.0.1:{port}")
        assert sender.send(POND).error is None
    assert "cannot be reached" in sender.send(POND).error
    with broker(port):
        assert sender.send(POND).error is None
        sender.close()


def test_nothing_listens(senders):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "cannot be reached" in senders(f"mqtt://127.0.0.1:{port}").send(POND).error


def test_there_is_no_broker(senders):
    assert "FILOPODIA_MQTT_URL" in senders(None).send(POND).error


def test_paho_is_not_installed(senders, monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    assert "filopodia[mqtt]" in senders("mqtt://127.0.0.1:1").send(POND).error
