"""Tests SIGTERM: the broker accepts no new calls, finishes the calls in flight, and exits with 0."""

import signal
import socket
import time

import grpc
import pytest

from support.broker import TOKEN_BROKER, running
from support.in_flight import ROW, call_in_flight
from support.waiting import eventually

# In seconds: how long waits last at most. Less than the grace period and the calls in flight, which last for a minute.
PATIENCE = 30


def exit_code(broker) -> int:
    return broker.process.wait(timeout=PATIENCE)


def refuses_connections(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # The connection was in the listener's queue when the listener closed.
    return False


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_broker_exits_at_once(sent):
    with running("--backend", "memory", "--shutdown-grace", "60s") as broker:
        broker.client.Store(**ROW, tokens={"access_token": "at-1"})
        broker.process.send_signal(sent)
        assert exit_code(broker) == 0


def test_a_call_in_flight_finishes(redis):
    with call_in_flight(redis, "--shutdown-grace", "60s") as (broker, proxy, call):
        broker.process.send_signal(signal.SIGTERM)
        eventually("new connections are refused", lambda: refuses_connections(broker.address), PATIENCE)
        assert broker.is_running() and not call.done()
        proxy.release()
        assert call.result(timeout=PATIENCE).entry.tokens.access_token == "at-1"
        assert exit_code(broker) == 0


def test_a_call_that_never_ends_is_given_up_after_the_grace_period(redis):
    with call_in_flight(redis, "--shutdown-grace", "1s") as (broker, _, call):
        start = time.monotonic()
        broker.process.send_signal(signal.SIGTERM)
        assert exit_code(broker) == 0
        assert time.monotonic() - start >= 0.9
        assert call.exception(timeout=PATIENCE).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_watch_learns_of_it_and_does_not_hold_it_up():
    with running("--backend", "memory", "--shutdown-grace", "60s") as broker:
        watch = broker.watch_health(TOKEN_BROKER)
        assert next(watch) == "SERVING"
        broker.process.send_signal(signal.SIGTERM)
        assert next(watch) == "NOT_SERVING"
        assert exit_code(broker) == 0


def test_it_serves_during_the_shutdown_delay_while_health_sends_clients_away():
    with running("--backend", "memory", "--shutdown-delay", "4s") as broker:
        broker.client.Store(**ROW, tokens={"access_token": "at-1"})
        watch = broker.watch_health(TOKEN_BROKER)
        assert next(watch) == "SERVING"
        start = time.monotonic()
        broker.process.send_signal(signal.SIGTERM)
        assert next(watch) == "NOT_SERVING"
        assert not refuses_connections(broker.address)
        assert broker.client.Get(**ROW).entry.tokens.access_token == "at-1"
        assert exit_code(broker) == 0
        assert time.monotonic() - start >= 4


def test_a_hangup_does_not_end_it():
    with running("--backend", "memory") as broker:
        broker.client.Store(**ROW, tokens={"access_token": "at-1"})
        broker.process.send_signal(signal.SIGHUP)
        eventually("the log says what a hangup does", lambda: any("SIGHUP" in line for line in broker.log), PATIENCE)
        assert broker.client.Get(**ROW).entry.tokens.access_token == "at-1"


def test_a_client_notices_nothing_when_its_connections_are_replaced():
    with running("--backend", "memory", "--max-connection-age", "100ms") as broker:
        broker.client.Store(**ROW, tokens={"access_token": "at-1"})
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert broker.client.Get(**ROW).entry.tokens.access_token == "at-1"
