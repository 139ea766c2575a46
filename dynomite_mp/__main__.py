"""python -m dynomite_mp"""

from dynomite_mp.cli import main

main()
