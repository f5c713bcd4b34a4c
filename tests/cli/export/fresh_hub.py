"""rlpipe in a process whose client of the hub reads its address and its token anew, which it does when imported."""

import runpy
import sys

for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
    del sys.modules[name]
runpy.run_module("rlpipe", run_name="__main__", alter_sys=True)
