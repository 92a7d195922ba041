#!/usr/bin/env python3
"""What `curate doctor` says of GPUs, with four that are told of (tests/told_gpus).

usage: doctor_test.py PROGRAM    curate linked with told_gpus.cpp
"""

import json
import os
import subprocess
import sys
import unittest

import skips

PROGRAM = None


class DoctorTest(unittest.TestCase):
    def doctor(self, *arguments, gpus=4, visible=None):
        environment = dict(os.environ, CURATE_TOLD_GPUS=str(gpus))
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        done = subprocess.run([PROGRAM, "doctor", *arguments], capture_output=True, text=True, check=True,
                              env=environment)
        self.assertEqual(done.stderr, "")
        return done.stdout

    def test_every_gpu_has_its_lines(self):
        """Which GPU, which code it runs, where its memory comes from, and whether kernels computed what is right."""
        lines = self.doctor().splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith("CUDA "))
        self.assertEqual(lines[first:-1], [
            "CUDA            built with 13.0, the driver serves 13.0",
            "cuBLASLt        13.0.0",
            "GPU 0           Fast GPU, compute capability 9.0, 132 multiprocessors, 139.0 of 140.0 GiB free",
            "                code for sm_90; memory from the driver's pool",
            "GPU 1           New GPU, compute capability 10.3, 160 multiprocessors, 270.0 of 280.0 GiB free",
            "                code for sm_103 that the driver compiled from PTX for 9.0; the first start takes longer; no "
            "memory pool, memory by cudaMalloc",
            "GPU 2           Broken GPU, compute capability 8.0, 108 multiprocessors, 39.0 of 40.0 GiB free",
            "                code for sm_80; memory from the driver's pool",
            "GPU 3           Old GPU, compute capability 7.5, 40 multiprocessors, 0.0 of 8.0 GiB free",
            "--device cpu    works",
            "--device cuda   works: kernels ran, and their answers are right",
            "--device cuda:1 works: kernels ran, and their answers are right",
            "--device cuda:2 fails: kernels gave wrong answers: 3 where 4 is right",
            "--device cuda:3 fails: Old GPU has compute capability 7.5, this program needs 8.0 or more",
        ])
        self.assertEqual(lines[-1], "--device auto   chooses cuda: Fast GPU")

    def test_json_has_the_same(self):
        printed = json.loads(self.doctor("--json"))
        self.assertTrue(printed["cuda"])
        self.assertEqual(printed["auto_device"], "cuda")
        self.assertEqual([gpu["device"] for gpu in printed["gpus"]], ["cuda", "cuda:1", "cuda:2", "cuda:3"])
        self.assertEqual([gpu["works"] for gpu in printed["gpus"]], [True, True, False, False])
        self.assertEqual(printed["gpus"][1], {
            "device": "cuda:1", "works": True, "problem": "", "name": "New GPU", "compute_capability": "10.3",
            "multiprocessors": 160, "memory_bytes": 280 << 30, "free_bytes": 270 << 30, "memory_pools": False,
            "machine_code": 103, "ptx": 90, "compiled_by_driver": True})
        self.assertFalse(printed["gpus"][0]["compiled_by_driver"])
        self.assertIn("wrong answers", printed["gpus"][2]["problem"])
        self.assertEqual(printed["gpus"][3]["machine_code"], 0)

    def test_the_choice_of_visible_gpus_is_said(self):
        self.assertIn("visible         CUDA_VISIBLE_DEVICES=1,0\n", self.doctor(gpus=2, visible="1,0"))
        self.assertNotIn("visible", self.doctor(gpus=2))
        self.assertEqual(json.loads(self.doctor("--json", visible="1,0"))["cuda_visible_devices"], "1,0")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    skips.main()
