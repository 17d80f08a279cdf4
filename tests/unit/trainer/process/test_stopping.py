"""SIGTERM leaves what can be thrown away at once, and asks what can be kept."""

import os
import signal

import pytest

from ribolex.trainer.stopping import Stop, Stopped


def test_a_signal_breaks_off_what_is_not_careful() -> None:
    stop = Stop()
    with stop.listening(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.is_asked
    with pytest.raises(Stopped):
        stop.check()


def test_what_is_careful_is_asked_and_a_second_signal_breaks_it_off() -> None:
    stop = Stop()
    with stop.listening(), stop.careful():
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)


def test_signals_go_back_to_who_had_them() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop().listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
