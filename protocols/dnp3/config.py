"""What a DNP3 outstation is told before it starts: addresses, masters, timers, buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .link import SELF_ADDRESS
from .values import PointType

NS_PER_S = 1_000_000_000
MIN_TX_FRAGMENT = 276
"""The longest octet string with its header must fit into one fragment."""


@dataclass(frozen=True, slots=True)
class OutstationConfig:
    """Settings of one outstation. Times are seconds; a None switches the function off.

    `masters` are the link addresses that are served; empty: any, at most `max_masters` at once, remembered by address. Each
    master has its own event buffer of `event_limit` events per point type (`event_limits` for single types), its own sequence
    numbers, select and unsolicited state.

    `unsolicited_retries` None repeats for ever; after the last of a number of retries the outstation is silent for
    `unsolicited_offline_s` or until the master is heard. `unsolicited_delay_s` collects events before the first is sent.
    `need_time` asks for the time after a restart, `time_sync_period_s` again after each period. `cold_restart_s` and
    `warm_restart_s` are how long a restart takes (None: refused as an unsupported function). After `keep_alive_s` without a
    frame the link status is requested, and the connection given up when no answer comes within `keep_alive_timeout_s`.
    """

    address: int = 10
    masters: tuple[int, ...] = ()
    max_masters: int = 8
    self_address: bool = False
    max_tx_fragment: int = 2048
    max_rx_fragment: int = 2048
    confirm_timeout_s: float = 5.0
    select_timeout_s: float = 5.0
    max_controls: int = 16
    unsolicited: bool = True
    unsolicited_confirm_timeout_s: float = 5.0
    unsolicited_retries: int | None = 3
    unsolicited_offline_s: float = 30.0
    unsolicited_delay_s: float = 0.0
    event_limit: int = 1000
    event_limits: Mapping[PointType, int] = field(default_factory=dict)
    need_time: bool = True
    time_sync_period_s: float | None = None
    cold_restart_s: float | None = 1.0
    warm_restart_s: float | None = None
    keep_alive_s: float | None = 60.0
    keep_alive_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for address in (self.address, *self.masters):
            if not 0 <= address < 0xFFF0:
                raise ValueError(f"link address {address} is not one of 0 to 65519 (above are broadcasts and {SELF_ADDRESS})")
        if self.address in self.masters:
            raise ValueError(f"outstation and master cannot both have link address {self.address}")
        if not MIN_TX_FRAGMENT <= self.max_tx_fragment <= 0xFFFF or not 249 <= self.max_rx_fragment <= 0xFFFF:
            raise ValueError(f"fragments: at least {MIN_TX_FRAGMENT} octets to send and 249 to receive, at most 65535")
        if self.max_masters < 1 or self.max_controls < 1:
            raise ValueError("max_masters and max_controls must be at least 1")


def ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NS_PER_S)
