"""Imported by every Python that a test starts (`PYTHONPATH`): children stay on this machine as well."""

from tests.support.network import SWITCH

SWITCH.turn_on()
