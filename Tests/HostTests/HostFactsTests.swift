import Foundation
import Host
import Testing

@Suite("Facts of the host") struct HostFactsTests {
    private func host(cgroup: String, _ limits: [String: String] = [:]) throws -> HostFacts {
        let host = try FakeHost()
        try host.write(
            "proc/cpuinfo",
            "model name\t: Wine Press 9000\nflags\t\t: fpu avx2 avx512f avx512_bf16 fma\nmodel\t: 2\n"
        )
        try host.write("proc/meminfo", "MemTotal:       24684092 kB\nMemAvailable:   1000 kB\n")
        try host.write("proc/self/status", "Name:\tcat\nCpus_allowed_list:\t0-3,6\n")
        try host.write("proc/self/cgroup", cgroup)
        try host.write("proc/sys/kernel/random/boot_id", "b001\n")
        try host.write("sys/devices/system/cpu/online", "0-7\n")
        for (path, text) in limits { try host.write("sys/fs/cgroup/\(path)", text) }
        #expect(HostFacts.availableMemoryBytes(host.paths) == 1_024_000)
        return HostFacts(host.paths)
    }

    @Test("are what the kernel says, without limits")
    func withoutLimits() throws {
        let facts = try host(cgroup: "0::/\n")
        #expect(facts.cpuModel == "Wine Press 9000")
        #expect(facts.instructionSets == ["fma", "avx2", "avx512f", "avx512_bf16"])
        #expect((facts.coresOnline, facts.coresAllowed, facts.usableCores) == (8, 5, 5))
        #expect(facts.memoryTotalBytes == 24_684_092 * 1024)
        #expect(facts.usableMemoryBytes == facts.memoryTotalBytes)
        #expect(facts.coreQuota == nil)
        #expect(facts.kernelBootID == "b001")
    }

    @Test("respect the tightest limit of a control group and those above it")
    func controlGroups() throws {
        let facts = try host(
            cgroup: "0::/a/b\n",
            [
                "a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n", "a/b/memory.max": "max\n",
                "a/memory.max": "1073741824\n",
            ])
        #expect(facts.coreQuota == 1.5)
        #expect(facts.usableCores == 2)
        #expect(facts.usableMemoryBytes == 1 << 30)
    }

    @Test("respect control groups of version 1 and take its huge number for no limit")
    func controlGroupsOfVersion1() throws {
        let cgroup = "4:memory:/m\n2:cpu,cpuacct:/c\n0::/\n"
        let facts = try host(
            cgroup: cgroup,
            [
                "memory/m/memory.limit_in_bytes": "536870912\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu/c/cpu.cfs_quota_us": "50000\n", "cpu/c/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
            ])
        #expect(facts.usableMemoryBytes == 512 << 20)
        #expect(facts.coreQuota == 0.5)
        #expect(facts.usableCores == 1)
        let unlimited = try host(cgroup: cgroup, ["memory/memory.limit_in_bytes": "9223372036854771712\n"])
        #expect(unlimited.memoryLimitBytes == nil)
    }

    @Test("fall back to one core when the kernel says nothing")
    func silentKernel() throws {
        let facts = HostFacts(try FakeHost().paths)
        #expect((facts.usableCores, facts.cpuModel, facts.usableMemoryBytes) == (1, "unknown", 0))
    }

    @Test("of this machine are plausible")
    func thisMachine() throws {
        let facts = HostFacts()
        #expect(facts.usableCores >= 1)
        #expect(facts.usableCores <= ProcessInfo.processInfo.processorCount)
        #expect(facts.memoryTotalBytes == Int64(ProcessInfo.processInfo.physicalMemory) / 1024 * 1024)
        let memory = try #require(ProcessMemory())
        #expect(memory.residentBytes > 1 << 20)
        #expect(memory.peakResidentBytes >= memory.residentBytes)
    }
}
