"""What ps and top show for the processes of a node: `dynomite-mp: io[0] dc1/rack1`."""

from dynomite_mp.settings import Config


def process_title(name: str, config: Config) -> str:
    return f"dynomite-mp: {name} {config.datacenter}/{config.rack}"


def set_title(title: str) -> None:
    import setproctitle

    setproctitle.setproctitle(title)
