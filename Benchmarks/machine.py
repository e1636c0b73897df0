"""What the machine is made of, as far as it matters for the speed of a training step."""
import os
import pathlib
import platform
import re
import subprocess

FLAGS = ["avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16", "avx512_fp16"]


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def field(text, name):
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def caches():
    """Each level once, as in "L1d 48 KiB, L2 1 MiB, L3 32 MiB"."""
    found = []
    for folder in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level = read(folder / "type").strip(), read(folder / "level").strip()
        size = read(folder / "size").strip().replace("K", " KiB")
        if kind != "Instruction" and size:
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found)


def package_version(name):
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout if done.returncode == 0 else "unknown"


def describe():
    """Pairs of a quantity and its value."""
    processor = read("/proc/cpuinfo")
    flags = field(processor, "flags").split()
    family = f"family {field(processor, 'cpu family')}, model {field(processor, 'model')}"
    memory = int(field(read("/proc/meminfo"), "MemTotal").split()[0]) / 2**20
    kernel = re.match(r"[0-9.]*[0-9]", platform.release())
    system = field(read("/etc/os-release").replace("=", ": "), "PRETTY_NAME").strip('"')
    return [
        ("Processor", f"{field(processor, 'model name')} ({family})"
                      + (", virtual machine" if "hypervisor" in flags else "")),
        ("Cores", str(len(os.sched_getaffinity(0)))),
        ("Instruction sets", ", ".join(flag for flag in FLAGS if flag in flags)),
        ("Caches of a core", caches()),
        ("Memory", f"{memory:.0f} GiB"),
        ("System", f"{system}, Linux {kernel.group() if kernel else ''}, glibc {platform.libc_ver()[1]}"),
        ("oneDNN of Vintner", package_version("libdnnl-dev")),
    ]
