"""How tests compile: with little care, for most of their time is the compiler's; none asks how fast a program is."""

import jaxlib.version

FLAGS = "--xla_backend_optimization_level=0"
FLAGS += " --xla_cpu_parallel_codegen_split_count=1"  # for other workers have the other cores
if jaxlib.version.__version_info__[:2] < (0, 11):  # from there on there is one way, and the flag is an error
    FLAGS += " --xla_cpu_use_fusion_emitters=false"  # the older way to compile fusions, in half the time
