import subprocess
import sys

USE = """
import hashlib, ssl
from asynckaniko.linux import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

before = resident()
memory.forget_files()
print(before, resident(), hashlib.sha256(b"abc").hexdigest())
"""


def test_process_works_on_with_less_memory() -> None:
    printed = subprocess.check_output([sys.executable, "-c", USE], text=True)

    before, after, digest = printed.split()
    assert int(after) < int(before)
    # FIPS 180-2, appendix B.1
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
