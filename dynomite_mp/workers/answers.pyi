from dynomite_mp.workers.data_path import DataPath

class Answers(DataPath):
    """Nothing more of it is visible to Python."""
