from dynomite_mp.workers.data_path import DataPath

class Answers(DataPath):
    def part(self) -> None:
        """Before a drain: each client is let go of behind its next answer."""
    def begin_drain(self) -> None: ...
