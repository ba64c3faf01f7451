"""The programs run where they are copied: they need libc, GCC's libraries and PyTorch's, nothing that a package must install.

PROGRAMS names them, separated by colons.
"""
import os
import re
import subprocess
import unittest

FROM_THE_SYSTEM = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libgomp.so.1", "ld-linux-x86-64.so.2"}
FROM_PYTORCH = {"libtorch.so", "libtorch_cpu.so", "libtorch_cuda.so", "libc10.so", "libc10_cuda.so", "libcudart.so.13", "libnccl.so.2"}


def needed_libraries(program: str) -> set[str]:
    said = subprocess.run(["readelf", "--dynamic", program], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", said))


class PortablePrograms(unittest.TestCase):
    def test_need_only_libraries_that_every_host_with_pytorch_has(self):
        for program in os.environ["PROGRAMS"].split(":"):
            with self.subTest(program=program):
                needed = needed_libraries(program)
                self.assertIn("libc.so.6", needed)
                self.assertEqual(needed - FROM_THE_SYSTEM - FROM_PYTORCH, set())


if __name__ == "__main__":
    unittest.main()
