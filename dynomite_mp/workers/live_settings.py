"""The settings that can change while the node runs, as the admin process knows them.

The values begin as the configuration has them and change only by what the supervisor tells every worker, so what
`/get_...` shows is what is in force and not what somebody asked for.
"""

from dataclasses import dataclass

from dynomite_mp.config import Config
from dynomite_mp.enums import Consistency


@dataclass(slots=True)
class LiveSettings:
    read_consistency: Consistency = Consistency.DC_ONE
    write_consistency: Consistency = Consistency.DC_ONE
    timeout_factor: int = 1
    log_level: int = 6
    read_repairs_enabled: bool = False

    @classmethod
    def of(cls, config: Config) -> "LiveSettings":
        return cls(
            read_consistency=config.read_consistency,
            write_consistency=config.write_consistency,
            log_level=config.log_level,
            read_repairs_enabled=config.read_repairs_enabled,
        )

    def holds(self, key: str, value: str | int) -> bool:
        """Whether a setting already has this value. What is no field of this class never has."""
        if key not in self.__slots__:
            return False
        return bool(getattr(self, key) == self._parsed(key, value))

    def put(self, key: str, value: str | int) -> None:
        """Takes over what the supervisor has put in force. Settings that have no verb here are none of ours."""
        if key in self.__slots__:
            setattr(self, key, self._parsed(key, value))

    @staticmethod
    def _parsed(key: str, value: str | int) -> Consistency | int | bool:
        if key.endswith("_consistency"):
            return value if isinstance(value, Consistency) else Consistency[str(value).upper()]
        return bool(int(value)) if key == "read_repairs_enabled" else int(value)
