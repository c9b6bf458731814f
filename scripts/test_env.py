#!/usr/bin/env python3
"""Does `attest env` see what disturbs timings?   test_env.py ATTEST

Judges made-up machines: folders with the files of /proc and /sys that matter.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

ATTEST = None
CPU = "sys/devices/system/cpu/"
GROUP = "sys/fs/cgroup/"


def cpus(count, name, text):
    """The same file for every CPU."""
    return {f"{CPU}cpu{i}/{name}": text and text.format(i) for i in range(count)}


# Nothing disturbs here: 8 cores, their clock fixed.
SERVER = {
    "proc/loadavg": "0.02 0.05 0.01 1/200 999",
    "proc/stat": "cpu  100 0 100 100000 10 0 0 0 0 0\ncpu0 1 2 3 4 5",
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse2 avx2\n",
    "proc/meminfo": "MemTotal:  67108864 kB\nSwapTotal: 4194304 kB\nSwapFree: 4194304 kB\n",
    "proc/self/status": "Name:\tattest\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n",
    "proc/self/cgroup": "0::/user.slice/user-1.slice",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
    "proc/sys/kernel/numa_balancing": "0",
    "proc/sys/kernel/perf_event_paranoid": "1",
    "sys/bus/event_source/devices/cpu/type": "4",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
    "sys/devices/system/node/online": "0-1",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    GROUP + "cpu.max": "max 100000",
    GROUP + "user.slice/cpu.max": "max 100000",
    GROUP + "user.slice/memory.max": "max",
    CPU + "online": "0-7",
    CPU + "cpufreq/boost": "0",
    **cpus(8, "cpufreq/scaling_governor", "performance"),
    **cpus(8, "topology/thread_siblings_list", "{}"),
}

LAPTOP = {
    **SERVER,
    "proc/loadavg": "1.50 1.00 0.80 2/900 999",
    "proc/stat": "cpu  40000 100 9000 100000 900 0 500 0 0 0",
    "proc/meminfo": "MemTotal:  16384000 kB\nSwapTotal: 8388608 kB\nSwapFree: 8000000 kB\n",
    "proc/sys/kernel/perf_event_paranoid": "4",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "sys/devices/system/node/online": "0",
    "sys/class/power_supply/AC/type": "Mains",
    "sys/class/power_supply/AC/online": "0",
    "sys/class/power_supply/BAT0/type": "Battery",
    "sys/class/power_supply/BAT0/status": "Discharging",
    CPU + "cpufreq/boost": None,
    CPU + "intel_pstate/no_turbo": "0",
    **cpus(8, "cpufreq/scaling_governor", "powersave"),
    **{f"{CPU}cpu{i}/topology/thread_siblings_list": f"{i % 4},{i % 4 + 4}" for i in range(8)},
}

# A hosted runner: a container of 2 CPUs' time on a virtual machine of 8.
CONTAINER = {
    **SERVER,
    ".dockerenv": "",
    "proc/loadavg": "9.00 8.00 7.00 9/900 999",
    "proc/stat": "cpu  70000 0 9000 100000 900 0 500 4000 0 0",
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse2 avx2 hypervisor\n",
    "proc/self/status": "Cpus_allowed_list:\t0-3\n",
    "proc/self/cgroup": "0::/",
    "proc/pressure/cpu": "some avg10=25.13 avg60=0.00 avg300=0.00 total=1",
    "proc/sys/kernel/numa_balancing": "1",
    "sys/bus/event_source/devices/cpu/type": None,
    "sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]",
    GROUP + "cpu.max": "200000 100000",
    GROUP + "memory.max": "8589934592",
    CPU + "cpufreq/boost": None,
    **cpus(8, "cpufreq/scaling_governor", None),
}

# One change to the quiet server, its level, its name, and words of what is told.
V1 = {"proc/self/cgroup": "2:cpu,cpuacct:/docker/77\n1:memory:/docker/77", GROUP + "cpu.max": None}
ONE_CHANGE = [
    ({"proc/loadavg": "0.31 0 0 1/1 1"}, "care", "other work", "load average 0.31"),
    ({"proc/pressure/cpu": "some avg10=2.00 avg60=0"}, "care", "CPU pressure", "2 %"),
    ({"proc/pressure/cpu": "some avg10=10.00 avg60=0"}, "unfit", "CPU pressure", "10 %"),
    ({"proc/pressure/memory": "some avg10=3.00"}, "unfit", "memory pressure", "3 %"),
    ({"proc/stat": "cpu 1 0 1 97 0 0 0 1"}, "care", "steal", "1.00 % since boot"),
    ({"proc/meminfo": "SwapTotal: 4096 kB\nSwapFree: 2048 kB\n"}, "care", "swap", "2 MiB"),
    ({CPU + "cpu5/cpufreq/scaling_governor": "schedutil"}, "care", "governor",
     "1 of 8 CPUs is schedutil"),
    ({CPU + "cpufreq/boost": "1"}, "care", "turbo", "echo 0 | sudo tee /sys/devices/system/cpu/"),
    ({CPU + "intel_pstate/no_turbo": "0"}, "care", "turbo", "echo 1 | sudo tee"),
    ({CPU + "cpu1/topology/thread_siblings_list": "0-1",
      CPU + "cpu0/topology/thread_siblings_list": "0-1"}, "care", "SMT", "taskset -c 0,2-7 attest"),
    ({"proc/sys/kernel/numa_balancing": "1"}, "care", "NUMA balancing", "2 memory nodes"),
    ({"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}, "care",
     "clock source", "hpet"),
    ({"proc/cpuinfo": "flags : fpu hypervisor sse"}, "care", "virtual machine", "real hardware"),
    (cpus(8, "cpufreq/scaling_governor", None), "care", "clock", "within one run"),
    ({"sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]"}, "note",
     "huge pages", "never"),
    ({"proc/self/status": "Cpus_allowed_list:\t2,4-5\n"}, "note", "affinity", "3 of 8 CPUs"),
    ({"proc/sys/kernel/perf_event_paranoid": "3"}, "note", "counters", "perf_event_paranoid 3"),
    ({"sys/bus/event_source/devices/cpu/type": None}, "note", "counters", "not visible"),
    ({GROUP + "user.slice/memory.max": "1073741824"}, "note", "memory limit", "1.0 of 64.0 GiB"),
    ({GROUP + "user.slice/cpu.max": "350000 100000"}, "unfit", "CPU quota", "--threads 1,3"),
    ({GROUP + "user.slice/user-1.slice/cpu.max": "50000 100000"}, "unfit", "CPU quota", "0.5 CPUs"),
    ({**V1, GROUP + "cpu/cpu.cfs_quota_us": "150000", GROUP + "cpu/cpu.cfs_period_us": "100000"},
     "unfit", "CPU quota", "1.5 CPUs"),
    ({**V1, GROUP + "memory/docker/77/memory.limit_in_bytes": "2147483648"}, "note",
     "memory limit", "2.0 of"),
    ({"sys/class/power_supply/BAT1/type": "Battery",
      "sys/class/power_supply/BAT1/status": "Discharging"}, "unfit", "battery", "power supply"),
]
NO_CHANGE = [
    {"sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock"},
    {"sys/class/power_supply/BAT1/type": "Battery", "sys/class/power_supply/BAT1/status": "Full"},
    {"proc/sys/kernel/numa_balancing": "1", "sys/devices/system/node/online": "0"},
    {GROUP + "user.slice/cpu.max": "800000 100000"},
    {CPU + "intel_pstate/no_turbo": "1"},
    {**V1, GROUP + "cpu/cpu.cfs_quota_us": "-1", GROUP + "cpu/cpu.cfs_period_us": "100000",
     GROUP + "memory/memory.limit_in_bytes": "9223372036854771712"},
    {"proc/pressure/cpu": None, "proc/pressure/memory": None, CPU + "cpufreq/boost": None},
]


class Env(unittest.TestCase):
    """Runs the program on a folder."""

    def env(self, files, *words):
        """Standard output of `attest env` on a machine made of files; None means no file."""
        with tempfile.TemporaryDirectory(prefix="a machine ") as folder:
            for path, text in files.items():
                if text is not None:
                    path = os.path.join(folder, path)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "w", encoding="utf-8") as file:
                        file.write(text if not text or text.endswith("\n") else text + "\n")
            done = subprocess.run([ATTEST, "env", "--root", folder, *words], capture_output=True,
                                  text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def judge(self, files):
        """Verdict and findings."""
        report = json.loads(self.env(files, "--json", "-"))["fitness"]
        return report["verdict"], report["findings"]

    def expect_names(self, files, verdict, names):
        """The verdict, and the findings in this order; the text says the same in 80 columns."""
        judged, findings = self.judge(files)
        self.assertEqual((judged, [finding["name"] for finding in findings]), (verdict, names))
        text = self.env(files)
        self.assertLessEqual(max(map(len, text.splitlines())), 80, text)
        self.assertTrue(text.startswith(f"fitness    {verdict}"), text)
        for finding in findings:
            for part in ("found", "why", "change", "instead"):
                self.assertIn(finding[part], text)
            self.assertTrue(finding["change"] or finding["instead"])

    def test_quiet_server(self):
        self.expect_names(SERVER, "fit", [])
        self.assertEqual(self.env(SERVER), "fitness    fit\n")

    def test_laptop(self):
        self.expect_names(LAPTOP, "unfit", ["battery", "other work", "governor", "turbo", "SMT",
                                            "swap", "huge pages", "counters"])

    def test_container(self):
        self.expect_names(CONTAINER, "unfit", [
            "CPU quota", "other work", "CPU pressure", "steal", "NUMA balancing", "virtual machine",
            "clock", "huge pages", "memory limit", "affinity", "counters"])
        for finding in self.judge(CONTAINER)[1]:    # only the host can change its kernel
            self.assertEqual(finding["on_host"], finding["name"] in
                             ("NUMA balancing", "huge pages", "counters"), finding)

    def test_each_cause_alone(self):
        for change, level, name, words in ONE_CHANGE:
            with self.subTest(change=change):
                verdict, findings = self.judge({**SERVER, **change})
                self.assertEqual([(f["level"], f["name"]) for f in findings], [(level, name)])
                self.assertIn(words, json.dumps(findings[0]))
                self.assertEqual(verdict, {"note": "fit", "care": "fit with care",
                                           "unfit": "unfit"}[level])

    def test_what_does_not_disturb(self):
        for change in NO_CHANGE:
            with self.subTest(change=change):
                self.assertEqual(self.judge({**SERVER, **change}), ("fit", []))

    def test_odd_files(self):
        """Nothing there, and nonsense: no cause is made up, no crash."""
        verdict, findings = self.judge({"proc/stat": None})
        self.assertEqual((verdict, [f["name"] for f in findings]),
                         ("fit with care", ["clock", "counters"]))
        for text in ("", "-1", "\x00\xff", "x" * 100000, "9" * 400, "[[[", ",,,-", ":::::\n:"):
            self.env({path: text for path in SERVER})
        odd = {CPU + "cpu0/cpufreq/scaling_governor": "a\x1bä"}
        self.assertTrue(self.judge({**SERVER, **odd})[1][0]["found"].endswith("is a???"))

    def test_no_folder(self):
        done = subprocess.run([ATTEST, "env", "--root", "/no/such/folder"], capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1))
        self.assertIn("/no/such/folder", done.stderr)

    def test_this_machine(self):
        """The record and its judgement; the class has no more and no less than it had."""
        done = subprocess.run([ATTEST, "env", "--json", "-"], capture_output=True, text=True,
                              check=True)
        record = json.loads(done.stdout)
        self.assertIn(record["fitness"]["verdict"], ("fit", "fit with care", "unfit"))
        found = [finding["found"] for finding in record["fitness"]["findings"]]
        self.assertEqual(len(set(found)), len(found))
        self.assertRegex(record["class"], r"^\S+ \S* \S*\.\S*\.\S* .*\d+ CPUs \d+G Linux \S+$")
        text = subprocess.run([ATTEST, "env"], capture_output=True, text=True, check=True).stdout
        self.assertLessEqual(max(map(len, text.splitlines())), 80, text)


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
